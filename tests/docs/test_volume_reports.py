"""The code blocks of the guide on scores and pictures of scans run, in their order."""

import re
from pathlib import Path

import numpy as np
import pytest

from report.scans import oriented

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "volume_reports.md"


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    nibabel = pytest.importorskip("nibabel")
    monkeypatch.chdir(tmp_path)
    scan, heat = oriented()
    image = nibabel.Nifti1Image(scan.array[0].numpy().T, scan.affine[:, [2, 1, 0, 3]])
    nibabel.save(image, "scan.nii.gz")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    mask = (heat > 0.5).astype(np.uint8)
    names = {
        "heat": heat,
        "probs": np.eye(2)[labels] * 0.6 + rng.dirichlet(np.ones(2), 60) * 0.4,
        "labels": labels,
        "train_labels": [0, 0, 1],
        "classes": ["healthy", "ill"],
        "patients": np.arange(60) // 2,
        "cases": [("a", mask, mask, scan.spacing), ("b", mask, np.roll(mask, 1), scan.spacing)],
        "trained": [(0, 0.86, 10), (1, 0.87, 12)],
    }
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text("utf-8"), re.S)
    assert len(blocks) == 5
    for code in blocks:
        if "froc" in code:
            names["cases"] = [(heat, mask, scan.spacing)] * 3
            names["patients"] = ["p1", "p2", "p3"]
        exec(compile(code, str(GUIDE), "exec"), names)
    printed = capsys.readouterr().out
    assert "floor: majority class AUC 0.500, accuracy 0.500" in printed
    assert "1.000 (95 % 0.4" in printed  # three of three lesions is not certainty
    assert {p.name for p in tmp_path.iterdir()} >= {"scan.html", "planes.png", "slices.png"}


def test_the_figures_of_the_guide_are_right():
    from pseudo3d.scores.auc import hanley_mcneil
    from pseudo3d.scores.bootstrap import wilson

    text = GUIDE.read_text("utf-8")
    assert f"1.000 (95 % {wilson(1.0, 12)[0]:.3f} to 1.000)" in text
    assert f"AUC of 0.83 is {hanley_mcneil(0.83, 69, 229):.3f}" in text
