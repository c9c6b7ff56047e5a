"""The example of the guide to batches runs."""

import re
from pathlib import Path

from cluster.conftest import clips as clips
from cluster.conftest import weights as weights
from pseudo3d.cluster.proof import check

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/batch.md"


def test_the_python_example_runs(clips, weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("videos").symlink_to(clips)
    (text,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
    exec(compile(text.replace("workers=2", "workers=1"), str(GUIDE), "exec"), {"weights": weights})
    assert capsys.readouterr().out == "7 1\n"
    assert check("out") == {"rows": 8, "good": 7, "bad": 1}
