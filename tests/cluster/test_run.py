"""Exactly one row per video, whatever ends a run, and the same rows as if nothing had."""

import json
from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.conftest import Here
from pseudo3d.cluster import run as module
from pseudo3d.cluster.gather import gather
from pseudo3d.cluster.inputs import read_input
from pseudo3d.cluster.place import Place
from pseudo3d.cluster.proof import Damaged, check
from pseudo3d.cluster.ray import Lost
from pseudo3d.cluster.run import Progress, Way, run
from pseudo3d.cluster.worker import Stopped, Ticket, Worker, note_of, read_note
from pseudo3d.errors import Pseudo3dError, VideoError
from pseudo3d.features.extract import Extraction, extract
from pseudo3d.lock import sole


@pytest.fixture
def go(job, clips):
    """Runs a job over the eight files, two in a partition."""

    def once(out, engine=None, *, source=clips, now=None, again=False, progress=None):
        listing = read_input(str(source))
        engine = engine or Here()
        return run(listing, now or job(), out, engine, Way(size=2, retry=again), progress)

    return once


def tables(out):
    """Every table by its name, as bytes."""
    files = [*out.glob("predictions/*"), *out.glob("quarantine/*")]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, job, clips):
    """An undisturbed run."""
    out = tmp_path_factory.mktemp("whole") / "out"
    listing = read_input(str(clips))
    summary = run(listing, job(), out, Here(), Way(size=2))
    return out, summary


def test_every_video_has_one_row_in_one_table(whole, clips):
    out, summary = whole
    assert (summary.rows, summary.good, summary.bad, summary.partitions) == (8, 7, 1, 4)
    good = pq.read_table(out / "predictions")
    assert good.column("row").to_pylist() == list(range(7))
    assert good.column("name").to_pylist() == [str(clips / f"v{i}.mp4") for i in range(7)]
    assert set(good.column("label").to_pylist()) <= {"bright", "dark", "middle"}
    assert [sum(p) for p in good.column("probs").to_pylist()] == pytest.approx([1.0] * 7)
    about = json.loads(good.schema.metadata[b"pseudo3d"])
    assert about["classes"] == ["bright", "dark", "middle"]
    assert (about["task"], about["network"]) == ("predict", "p3d_nano")
    (bad,) = pq.read_table(out / "quarantine").to_pylist()
    assert (bad["row"], bad["name"], bad["attempt"]) == (7, str(clips / "v7.mp4"), 1)
    assert "cannot be opened" in bad["why"]
    assert json.loads((out / "summary.json").read_text())["good"] == 7
    card = json.loads((out / "card.json").read_text())
    assert (card["task"], card["state"]) == ("batch predict", "finished")
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("after", [0, 3, 7])
def test_an_interrupted_run_goes_on_to_the_same_bytes(whole, go, tmp_path, after):
    out, told = tmp_path / "out", []
    with pytest.raises(KeyboardInterrupt):
        go(out, Here(after))
    (out / "done").mkdir(exist_ok=True)
    (out / "done" / ".part-00000003.json.1.99999999.part").write_bytes(b"half")
    engine, progress = Here(), Progress(changed=lambda p: told.append((p.before, p.seen, p.bad)))
    summary = go(out, engine, progress=progress)
    assert engine.looks == summary.fresh == 8 - after // 2 * 2
    assert told[-1] == (8 - engine.looks, engine.looks, 1)
    assert tables(out) == tables(whole[0])
    again = go(out, Here(0))  # nothing is left to do
    assert again.fresh == 0
    assert not list(out.rglob(".*"))


def test_another_list_or_job_is_refused_and_named(go, job, whole, clips, tmp_path):
    out, before = whole[0], tables(whole[0])
    (tmp_path / "two.txt").write_text(f"{clips}/v1.mp4\n{clips}/v2.mp4\n")
    for more, told in (
        ({"source": tmp_path / "two.txt"}, "another list"),
        ({"now": replace(job(), identity="1" * 64)}, "other weights"),
        ({"now": job(views=1)}, "views None"),
        ({"now": job("segments")}, "task 'predict'"),
    ):
        with pytest.raises(Pseudo3dError, match=told):
            go(out, Here(0), **more)
    with pytest.raises(Pseudo3dError, match="partitions of 2"):
        run(read_input(str(clips)), job(), out, Here(0), Way(size=3))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    with pytest.raises(Pseudo3dError, match=r"something else \(mine.txt\)"):
        go(tmp_path / "other")
    with sole(out), pytest.raises(Pseudo3dError, match="being written by process"):
        _in_thread(lambda: go(out))
    assert tables(out) == before


def _in_thread(call):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(call).result()


def test_moved_weights_are_the_same(go, job, whole, tmp_path):
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes((tmp_path / job().weights).read_bytes())
    assert go(whole[0], Here(0), now=replace(job(), weights=str(copy))).fresh == 0


def test_who_comes_second_with_a_partition_changes_nothing(whole, job):
    ticket = Ticket(place=str(whole[0]), job=job().to_dict())
    before = tables(whole[0])
    note = read_note(Place(whole[0]), 1)
    slow = Worker(ticket, look=lambda row, data: {"why": "another answer", "again": False})
    assert slow.do(1) == note  # it sees that the partition is done
    late = slow._keep(1, 2, 0, {"predictions": b"other bytes"}, 1.0)
    assert late == note
    assert len(tables(whole[0])) == len(before) + 1
    assert check(whole[0]) == {"rows": 8, "good": 7, "bad": 1}
    assert tables(whole[0]) == before


def test_damaged_tables_are_found_and_done_again(go, whole, tmp_path):
    out = tmp_path / "out"
    go(out)
    for name, content in (
        ("predictions/*00000001-*", b"PAR1"),
        ("predictions/*00000000-*", None),
        ("done/*00000002.json", b"{"),
    ):
        (path,) = out.glob(name)
        path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(Damaged, match=r"3 partitions .* the first is number 0"):
        check(out)
    assert go(out).rows == 8
    assert tables(out) == tables(whole[0])
    (path,) = out.glob("predictions/*00000001-*")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    engine = Here()
    go(out, engine)  # finds it by itself
    assert engine.looks == 2
    assert tables(out) == tables(whole[0])


def test_quarantined_videos_can_be_tried_again(go, clips, tmp_path):
    for i in range(3):
        (tmp_path / f"v{i}.mp4").write_bytes((clips / f"v{i}.mp4").read_bytes())
    moved = tmp_path / "v1.mp4"
    (tmp_path / "list.txt").write_text("v0.mp4\nv1.mp4\nv2.mp4\n")
    moved.rename(tmp_path / "away")
    out = tmp_path / "out"
    assert go(out, source=tmp_path / "list.txt").bad == 1
    (tmp_path / "away").rename(moved)
    assert go(out, source=tmp_path / "list.txt").bad == 1
    engine = Here()
    assert go(out, engine, source=tmp_path / "list.txt", again=True).bad == 0
    assert engine.looks == 2
    assert not list((out / "quarantine").iterdir())


def test_partitions_that_are_lost_are_given_out_again_and_then_given_up(
    go, whole, tmp_path, monkeypatch
):
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    lossy = Here(3, Lost("a machine is gone"))
    calls = []

    def run_on(ticket, parts, heard, seen):
        calls.append(list(parts))
        Here.run(lossy if len(calls) == 1 else Here(), ticket, parts, heard, seen)

    go(tmp_path / "out", SimpleNamespace(workers=1, run=run_on, close=lambda: None))
    assert calls == [[0, 1, 2, 3], [1, 2, 3]]
    assert tables(tmp_path / "out") == tables(whole[0])
    with pytest.raises(Pseudo3dError, match=r"4 of 4 partitions are not done.*a machine is gone"):
        go(tmp_path / "never", Here(0, Lost("a machine is gone")))


def test_an_object_store_holds_a_run_too(go, whole):
    summary = go("memory://runs/one")
    assert summary.good == 7
    place = Place("memory://runs/one")
    for name, data in tables(whole[0]).items():
        assert place.read(name) == data
    assert not place.claim(note_of(0), b"{}")
    assert go("memory://runs/one", Here(0)).fresh == 0
    place.remove("")


def test_what_may_pass_is_tried_again_what_ends_a_process_too(whole, job, clips, monkeypatch):
    monkeypatch.setattr("pseudo3d.cluster.worker._WAIT", 0.0)
    row = {"name": str(clips / "v0.mp4"), "shard": None}
    answers = iter([VideoError("took too long"), {"why": "no answer", "again": True}, {"found": 1}])

    def answer(row, data):
        if isinstance(found := next(answers), Exception):
            raise found
        return found

    worker = Worker(Ticket(place=str(whole[0]), job=job().to_dict(), attempts=3), look=answer)
    assert worker._tried(row) == (1, "", 3)
    worker.look = lambda row, data: {"why": "no answer", "again": True}
    assert worker._tried(row) == (None, "no answer", 3)
    missing = {**row, "name": "gone.mp4"}
    assert worker._tried(missing) == (None, "gone.mp4: no such file", 1)
    worker.look = lambda row, data: {"fault": "no such weights"}
    with pytest.raises(Pseudo3dError, match="no such weights"):
        worker._tried(row)
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        Worker(worker.ticket, look=answer, stop=stop)._tried(row)
    with pytest.raises(ValueError, match="attempts is 0"):
        replace(worker.ticket, attempts=0)


def test_videos_that_are_no_files_are_fetched(job, clips, weights, tmp_path):
    store = Place("memory://videos")
    for i in range(2):
        store.write(f"v{i}.mp4", (clips / f"v{i}.mp4").read_bytes())
    (tmp_path / "list.txt").write_text("".join(f"memory://videos/v{i}.mp4\n" for i in range(3)))
    listing = read_input(str(tmp_path / "list.txt"))
    summary = run(listing, job(), tmp_path / "out", Here(), Way(size=3))
    assert (summary.good, summary.bad) == (2, 1)
    store.remove("")


def test_features_are_gathered_as_extract_gives_them(job, weights, listed, films, tmp_path):
    options = {"layers": ["pool5", "stem"], "clips": 2, "per_clip": True}
    listing, out = read_input(str(listed)), tmp_path / "out"
    run(listing, job("features", **options), out, Here(), Way(size=7))
    found = gather(out)
    layers, how = options["layers"], Extraction(clips=2, per_clip=True)
    alone = extract(str(weights), films, layers=layers, how=how)
    for name in layers:
        np.testing.assert_array_equal(found.layers[name], alone.layers[name])
        np.testing.assert_array_equal(found.clip_layers[name], alone.clip_layers[name])
    np.testing.assert_array_equal(found.clip_video, alone.clip_video)
    np.testing.assert_array_equal(found.clip_times, alone.clip_times)
    for name in ("labels", "groups", "splits", "spans", "paths"):
        assert getattr(found, name) == getattr(alone, name)
    assert {k: found.meta[k] for k in ("protocol", "layers", "identity", "missing")} == {
        k: alone.meta[k] for k in ("protocol", "layers", "identity", "missing")
    }
    place = Place(out)
    place.remove(note_of(0))
    with pytest.raises(Pseudo3dError, match="partition 0 is not done"):
        gather(out)
