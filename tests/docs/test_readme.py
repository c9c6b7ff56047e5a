"""The code blocks of the README run."""

import re
from pathlib import Path

import pytest
import torch

import pseudo3d
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.rendered.motions import CLASSES, render_long

README = Path(__file__).resolve().parents[2] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.S)


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_of_the_readme_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    net = pseudo3d.create_model("p3d_nano", num_classes=len(CLASSES))
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    pseudo3d.save(net, "demo/runs/p3d_nano/weights.safetensors", classes=CLASSES, preprocessing=pre)
    render_long("demo/new_video.mp4", seconds=6.0, size=32)
    exec(compile(code, str(README), "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[0] in CLASSES
    assert len(printed) > 2


def test_the_commands_of_the_readme_exist():
    from typer.main import get_command

    from pseudo3d.cli.main import app

    known = get_command(app).commands
    shown = set(re.findall(r"^p3d (\w+)", README.read_text(), re.M))
    assert shown
    assert shown <= set(known)
