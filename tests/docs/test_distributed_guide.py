"""The guide to several processes: its check of the record runs, its commands are understood."""

import re
import shlex
from pathlib import Path

from typer.main import get_command

from pseudo3d.cli.main import app
from pseudo3d.data.dataset import EpochSampler
from pseudo3d.engine.training.record import begin

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/distributed.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


def test_the_check_of_the_record_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    begin(tmp_path / "run", EpochSampler(2, 2, 0), 2, 0)
    (tmp_path / "run" / "epochs" / "0.csv").write_text("epoch,batch,items\n0,0,1 0\n1,0,0 1\n")
    (code,) = blocks("python")
    exec(compile(code, str(GUIDE), "exec"), {})
    assert capsys.readouterr().out == "True 2 () ()\n"


def test_every_train_command_has_options_that_there_are():
    text = "".join(blocks("")).replace("\\\n", "")
    lines = [shlex.split(line) for line in text.splitlines() if "p3d train" in line]
    assert len(lines) == 3
    for words in lines:
        words = words[words.index("p3d") + 2 :]
        command = get_command(app).commands["train"]
        command.make_context("train", words, resilient_parsing=False)
