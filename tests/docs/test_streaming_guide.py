"""The guide to streaming runs as written."""

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/streaming.md"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S):
        exec(compile(block, str(GUIDE), "exec"), names)
    clip = names["camera"].transpose(0, 1).transpose(1, 2)
    with torch.inference_mode():
        want = names["network"].eval()(clip)
    torch.testing.assert_close(names["now"], want, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(names["logits"], want, atol=1e-5, rtol=1e-5)  # the exported one
    assert names["fork"].frames == 20
    assert "24" in capsys.readouterr().out
