"""The Python of the guide to scans runs, from top to bottom."""

import re
from pathlib import Path

import nibabel as nib
import numpy as np

GUIDE = Path(__file__).resolve().parents[2] / "docs/guides/scans.md"


def test_the_python_of_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 600, (60, 50, 12)).astype(np.int16)
    nib.save(nib.Nifti1Image(values, np.diag([1.0, 1, 5, 1])), "scan.nii.gz")
    code = "\n".join(re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S))
    exec(compile(code, str(GUIDE), "exec"), {})
    assert "depth is axis 0 (head-foot): 5 mm" in capsys.readouterr().out
    assert np.array_equal(
        np.asarray(nib.load("mask.nii.gz").dataobj), np.asarray(nib.load("mask2.nii.gz").dataobj)
    )
