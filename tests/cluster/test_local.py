"""Workers of one machine: a process that dies costs a video, never the run."""

import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pseudo3d.cluster.inputs import read_input
from pseudo3d.cluster.local import Local
from pseudo3d.cluster.run import Way, run
from pseudo3d.errors import Pseudo3dError


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Makes a list of files by their names, and has `dying` look at them."""
    monkeypatch.setattr("pseudo3d.cluster.worker.LOOK", "cluster.dying:look")
    monkeypatch.setattr("pseudo3d.cluster.worker._WAIT", 0.0)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))

    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "list.txt").write_text("\n".join(names))
        return read_input(str(tmp_path / "list.txt"))

    return make


def test_videos_that_end_their_process_are_put_aside(listed, job, tmp_path):
    listing = listed("a.mp4", "kill.mp4", "b.mp4", "hang.mp4", "c.mp4", "d.mp4")
    way = Way(seconds=0.5, attempts=1, size=2)
    summary = run(listing, job(), tmp_path / "out", Local(2), way)
    assert (summary.good, summary.bad) == (4, 2)
    good = pq.read_table(tmp_path / "out" / "predictions")
    assert sorted(good.column("row").to_pylist()) == [0, 2, 4, 5]
    pids = {int(pid) for pid in good.column("label").to_pylist()}
    assert len(pids) > 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    why = {r["name"]: r["why"] for r in pq.read_table(tmp_path / "out" / "quarantine").to_pylist()}
    assert "was killed (SIGKILL)" in why[str(tmp_path / "kill.mp4")]
    assert "takes more than 0.5 s, the limit" in why[str(tmp_path / "hang.mp4")]


def test_what_is_wrong_with_the_run_ends_it_at_once(listed, job, tmp_path):
    listing = listed("hang.mp4", "fault.mp4")
    with pytest.raises(Pseudo3dError, match="the weights are gone"):
        run(listing, job(), tmp_path / "out", Local(2), Way(size=1))
    assert not list((tmp_path / "out").glob("done/*"))


def test_an_interruption_ends_every_process(listed, job, tmp_path):
    listing = listed(*(f"{i}.mp4" for i in range(6)))

    class Keyboard(Local):
        def run(self, ticket, parts, heard, seen):
            def interrupted(note):
                raise KeyboardInterrupt

            super().run(ticket, parts, interrupted, seen)

    with pytest.raises(KeyboardInterrupt):
        run(listing, job(), tmp_path / "out", Keyboard(1), Way(size=1))
    assert len(list((tmp_path / "out" / "done").iterdir())) == 1
    summary = run(listing, job(), tmp_path / "out", Local(1), Way(size=1))
    assert summary.fresh == 5
    assert Local().workers == os.cpu_count()
