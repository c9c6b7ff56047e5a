"""The guide to long recordings runs from top to bottom, with fewer people and one epoch."""

import re
import shlex
from pathlib import Path

from pseudo3d.cli.main import app
from pseudo3d.data.annotation_files import read_annotations

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/sports.md"
PEOPLE, LAST = "people=12, size=48", "session11"


def blocks():
    """Language and text of every block that runs, in order."""
    return re.findall(r"```(python|bash)\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = {}
    found = blocks()
    assert [language for language, _ in found].count("bash") == 4
    for language, text in found:
        text = text.replace(PEOPLE, "people=3, sets=1, size=32").replace(LAST, "session02")
        if language == "python":
            exec(compile(text, str(GUIDE), "exec"), names)
            continue
        for line in text.replace("\\\n", "").splitlines():
            words = shlex.split(line)
            assert words[0] == "p3d"
            if words[1] == "train":
                words[words.index("--epochs") + 1] = "1"
                words += ["--no-report", "--net", "widths=[4,8,8,8]"]
            if words[1] == "predict":  # one epoch makes nothing sure
                words += ["--rule", "threshold=0.25", "--rule", "background=[]"]
            app([*words[1:], "--threads", "1"], standalone_mode=False)
    said = capsys.readouterr()
    assert said.out.count("F1@50\t") == 2
    assert "without rest; rule chosen among" in said.out
    cut = read_annotations(tmp_path / "gym/found.csv").videos[0].marks
    assert len(cut) == sum(names["counts"].values()) > 0
    assert len(list((tmp_path / "gym/parts").iterdir())) == len(cut)
    assert (tmp_path / "gym/found.png").stat().st_size > 10_000
    assert (tmp_path / "gym/pictures/session02.png").exists()


def test_the_list_in_the_guide_reads(tmp_path):
    text = re.search(r"```\n(path,.*?)```", GUIDE.read_text("utf-8"), re.S)
    assert text is not None
    (tmp_path / "truth.csv").write_text(text.group(1))
    found = read_annotations(tmp_path / "truth.csv", disk=False)
    assert [v.name for v in found.videos] == ["monday.mp4", "tuesday.mp4"]
    assert found.splits == ("train", "val")
