"""The guide to simulated fields runs, from simulation to picture, with few fields and one epoch."""

import re
import shlex
from pathlib import Path

import numpy as np

from pseudo3d.cli.main import app

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/fields.md"
COUNTS = '{"train": 400, "val": 80, "test": 150}'
TINY = '{"train": 16, "val": 8, "test": 8}'


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text("utf-8"), re.S)


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, second = blocks("python")
    assert COUNTS in first
    names = {}
    exec(compile(first.replace(COUNTS, TINY), str(GUIDE), "exec"), names)
    for line in "".join(blocks("bash")).replace("\\\n", "").splitlines():
        words = shlex.split(line)
        assert words[0] == "p3d"
        if words[1] == "train":
            words[words.index("--epochs") + 1] = "1"
            words += ["--threads", "1", "--set", "batch=8"]
        app(words[1:], standalone_mode=False)
    said = capsys.readouterr().out
    assert said.count("floor: mean value") == 3
    assert "MAE" in (tmp_path / "p3d" / "report.html").read_text()
    exec(compile(second, str(GUIDE), "exec"), names)
    assert names["worth"].shape == (8, 4, 4)
    assert (names["worth"] > 0).any()
    assert (tmp_path / "fields.png").stat().st_size > 20_000


def test_the_simulation_is_the_equation():
    """Its modes fade as exp(-D k² t), and no flow or gain changes that."""
    names = {}
    start = blocks("python")[0].split("arrays = {}")[0].replace("0.05 * ", "0.0 * ")
    exec(compile(start, str(GUIDE), "exec"), names)
    fields, log_d = names["simulate"](3, 0)
    k = 2 * np.pi / 24
    for field, log in zip(fields, log_d, strict=True):
        size = np.abs(np.fft.fft2(field)[:, 0, 1])
        np.testing.assert_allclose(size[8] / size[0], np.exp(-(10**log) * k**2 * 8), rtol=1e-3)
    assert np.ptp(log_d) > 0
