"""An option is refused where it would change nothing, and nowhere else; defaults are never."""

import re
from itertools import chain

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from pseudo3d.cli import given
from pseudo3d.cli.main import app
from pseudo3d.errors import Pseudo3dError

TABLES = {
    "predict": given.PREDICT,
    "evaluate": given.EVALUATE,
    "train": given.TRAIN,
    "explain": given.EXPLAIN,
}
# What a command is about, and words that make it so; nothing of it can be read.
W = "w.safetensors"
CASES = [
    ("predict", (given.VIDEOS,), (W, "film.mp4")),
    ("predict", (given.SCANS,), (W, "scan.npy")),
    ("evaluate", (given.VIDEOS,), (W, "films.csv")),
    ("evaluate", (given.SCANS,), (W, "scans.csv")),
    ("evaluate", (given.SEGMENTS,), (W, "films.csv", "--segments")),
    ("evaluate", (given.SEGMENTS, "--tune"), (W, "films.csv", "--segments", "--tune", "val")),
    ("evaluate", (given.FOUND,), ("found.json", "films.csv", "--segments")),
    ("train", (given.VIDEOS,), ("films.csv", "--out", "run")),
    ("train", (given.SCANS,), ("scans.csv", "--out", "run")),
    *(
        ("explain", (kind, f"--method {method}", check), (W, file, "--method", method, check))
        for kind, file in ((given.VIDEOS, "film.mp4"), (given.SCANS, "scan.npy"))
        for method, check in (("gradcam", "--check"), ("integrated", "--no-check"),
                              ("occlusion", "--no-check"), ("random", "--no-check"))
    ),
]  # fmt: skip
VALUES = {"runtime": "torch", "precision": "fp32", "aim": "f1", "baseline": "blur", "memory": "2GB",
          "csv": "1.csv", "timeline": "1.png", "annotate": "1.mp4"}  # fmt: skip
COMMANDS = typer.main.get_command(app).commands
UNREADABLE = (Pseudo3dError, OSError)


def option(command, name):
    """An option as a user writes it, with a value."""
    (found,) = (p for p in COMMANDS[command].params if p.name == name)
    return (found.opts[0],) if found.is_flag else (found.opts[0], VALUES.get(name, "1"))


def call(command, *words):
    COMMANDS[command].main([*words], standalone_mode=False)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with a scan, a list of one scan, and a network that is damaged."""
    monkeypatch.chdir(tmp_path)
    np.save("scan.npy", np.zeros((2, 3, 4), dtype=np.float32))
    (tmp_path / "scans.csv").write_text("path,value\nscan.npy,1\n")
    (tmp_path / W).touch()


@pytest.mark.parametrize(
    ("command", "now", "words"), [case for case in CASES if case[:2] != ("train", (given.VIDEOS,))]
)
def test_options_that_would_change_nothing_are_all_named(command, now, words):
    table = TABLES[command]
    idle = [option(command, n) for n, uses in table.items() if set(now).isdisjoint(uses)]
    if "--tune" not in now:  # with it --aim would have a use
        idle = [words for words in idle if words[0] != "--tune"]
    with pytest.raises(typer.BadParameter) as refusal:
        call(command, *words, *chain(*idle))
    named = re.findall(r"(--\S+) is for", str(refusal.value))
    assert sorted(named) == sorted(name for name, *_ in idle)


@pytest.mark.parametrize(("command", "now", "words"), CASES)
def test_options_of_use_and_defaults_are_taken(command, now, words):
    used = [option(command, n) for n, uses in TABLES[command].items() if {*now} & {*uses}]
    more = chain(*(o for o in used if o[0] not in ("--whole", *words)))  # not with --at
    with pytest.raises(UNREADABLE):
        call(command, *words)
    with pytest.raises(UNREADABLE):
        call(command, *words, *more)


def test_all_that_is_idle_is_named_on_stderr_and_is_misuse():
    words = ["predict", W, "film.mp4", "--out", "seen", "--allow-nonuniform"]
    done = CliRunner().invoke(app, [*words, "--json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    told = re.sub(r"[│\s]+", " ", done.stderr)  # out of its box
    assert "--out is for scans, --allow-nonuniform is for scans; here are videos" in told
    assert "leave them out" in told


def test_a_mistyped_scan_is_no_reason_to_refuse_the_options_of_scans(capsys, weights):
    """Its options are right; what is wrong is said of the file."""
    call("predict", str(weights), "sacn.nii.gz", "--out", "seen")
    assert "sacn.nii.gz" in capsys.readouterr().err


def test_a_switch_is_named_as_it_was_given():
    with pytest.raises(typer.BadParameter, match="--no-mirrors is for scans; here are videos"):
        call("evaluate", W, "films.csv", "--no-mirrors")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--batch", "auto"), "'auto'; wanted a number of scans"),
        (("--recipe", "cpu"), "unknown recipe for scans"),
    ],
)
def test_a_value_that_only_videos_know_is_refused_for_scans(words, told):
    with pytest.raises((typer.BadParameter, ValueError), match=told):
        call("train", "scans.csv", "--out", "run", *words)
