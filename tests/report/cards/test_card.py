"""A card is there from the first moment, says how the run ended, and forgets no attempt."""

import json
from pathlib import Path

import pytest

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.errors import Pseudo3dError
from pseudo3d.lock import sole
from pseudo3d.report.cards.card import CARD, beside, leads, read_card, recorded
from pseudo3d.report.cards.differences import differences, differences_here
from pseudo3d.report.cards.provenance import describe_data, describe_file


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # no repository, whose state others change meanwhile; and no git for each card
    for name in ("revision", "package_revision"):
        monkeypatch.setattr(f"pseudo3d.report.cards.provenance.{name}", lambda *folder: None)
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def run(out, error=None, **given):
    with recorded(out / CARD, "train", **given) as card:
        if error is not None:
            raise error
        card.add(steps=3)


def test_a_card_is_written_when_the_run_begins_and_when_it_ends():
    out = Path("out")
    with recorded(out / CARD, "train", seeds={"seed": 1}) as card:
        begun = read_card(out)
        assert (begun["state"], begun["ended"], begun["seeds"]) == ("running", None, {"seed": 1})
        card.add(data={"items": 2})
        assert read_card(out)["data"] == {"items": 2}
    done = read_card(out / CARD)
    assert done["state"] == "finished"
    assert done["seconds"] >= 0
    assert done["ended"] >= done["started"]


@pytest.mark.parametrize(
    ("error", "state"),
    [(KeyboardInterrupt(), "interrupted"), (RuntimeError("no"), "failed")],
)
def test_how_a_run_ended_is_told(error, state):
    with pytest.raises(type(error)):
        run(Path("out"), error)
    found = read_card("out")
    assert found["state"] == state
    assert found["error"].startswith(type(error).__name__)


def test_attempts_before_are_kept_with_what_differed():
    for seed, error in ((0, RuntimeError("a")), (1, RuntimeError("b"))):
        with pytest.raises(RuntimeError):
            run(Path("out"), error, seeds={"seed": seed})
    run(Path("out"), seeds={"seed": 1})
    first, second = read_card("out")["earlier"]
    assert (first["state"], first["error"], first["seeds"]) == (
        "failed",
        "RuntimeError: a",
        {"seed": 0},
    )
    assert second["error"] == "RuntimeError: b"
    assert "seeds" not in second
    assert "packages" not in second


def test_a_command_that_is_refused_leaves_the_card_of_a_finished_run():
    run(Path("out"))
    before = read_card("out")
    with pytest.raises(Pseudo3dError):
        run(Path("out"), Pseudo3dError("holds another run"))
    assert read_card("out") == before
    with sole(Path("other")):
        pass  # nobody holds it: the lock is free again


def test_a_folder_that_another_process_writes_is_left_alone(monkeypatch):
    run(Path("out"))
    before = Path("out/card.json").read_bytes()

    def held(folder):
        raise Pseudo3dError(f"{folder} is being written by process 1")

    monkeypatch.setattr("pseudo3d.report.cards.card.sole", held)
    with pytest.raises(Pseudo3dError, match="process 1"):
        run(Path("out"))
    assert Path("out/card.json").read_bytes() == before


def test_only_the_first_of_several_processes_writes(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert not leads()
    run(Path("out"))
    assert not Path("out").exists()


def test_a_card_may_wait_until_the_folder_may_hold_it():
    with recorded(Path("out/card.json"), "pack", at_once=False) as card:
        card.add(data={"items": 1})
        assert not Path("out/card.json").exists()
    assert read_card("out")["data"] == {"items": 1}
    with pytest.raises(RuntimeError), recorded(Path("new/card.json"), "pack", at_once=False):
        raise RuntimeError
    assert not Path("new").exists()


def test_the_card_of_a_file_lies_beside_it():
    assert beside(Path("a/pool5.npz")) == Path("a/pool5.npz.card.json")
    with recorded(beside(Path("pool5.npz")), "features"):
        pass
    assert read_card("pool5.npz")["task"] == "features"


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", '{"format": "1"}', "\x00", "[" * 9999, '{"format": 1, "data": []}',
     '{"format": 1, "earlier": [1]}', '{"format": 1, "inputs": {"w": 1}}', '{"format": 99}'],
)  # fmt: skip
def test_what_is_no_card_is_refused_and_stops_no_run(text):
    Path("out").mkdir()
    Path("out/card.json").write_text(text)
    with pytest.raises(Pseudo3dError):
        read_card("out")
    run(Path("out"))
    assert read_card("out")["earlier"] == []


def test_without_a_card_the_way_out_is_said():
    with pytest.raises(Pseudo3dError, match="wanted the folder or file of a run"):
        read_card("nowhere")


def test_two_runs_differ_in_what_they_were_made_with_alone():
    run(Path("a"), seeds={"seed": 0}, data={"sha256": "1"})
    run(Path("b"), seeds={"seed": 1}, data={"sha256": "1"})
    assert differences(read_card("a"), read_card("b")) == {"seeds.seed": (0, 1)}


def test_changed_weights_packages_and_data_are_found_from_anywhere(tmp_path, monkeypatch):
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_text(name)
    Path("list.csv").write_text("path,label\na.mp4,a\nb.mp4,b\n")
    Path("w").write_text("weights")
    items = tuple(Item(path=tmp_path / f"{n}.mp4", label=n) for n in "ab")
    data = describe_data(Manifest(items, ("a", "b")), "list.csv")
    run(Path("out"), data=data, inputs={"weights": describe_file("w"), "net": {"path": "random:x"}})
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir("sub")
    card = read_card("../out")
    ours = {"data", "inputs", "packages"}

    def here(card):
        return {k: v for k, v in differences_here(card).items() if k.partition(".")[0] in ours}

    assert here(card) == {}
    (tmp_path / "w").write_text("changed")
    (tmp_path / "a.mp4").write_text("longer")
    card["packages"]["torch"] = "1.0"
    assert set(here(card)) == {
        "packages.torch", "inputs.weights.sha256", "data.bytes", "data.sha256",
        "data.content_sha256",
    }  # fmt: skip
    (tmp_path / "list.csv").unlink()
    (tmp_path / "w").unlink()
    assert here(card)["data.sha256"][1] == "not there"
    assert here(card)["inputs.weights.sha256"][1] == "not there"


def test_the_file_is_json_for_others():
    run(Path("out"))
    assert json.loads(Path("out/card.json").read_text())["task"] == "train"
