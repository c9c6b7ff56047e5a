"""Heat of scans lies in the grid of the file, whatever the network's grid is."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.engine.volumes.ready import ready
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.attribution import How
from pseudo3d.explain.scan_attribution import explain_scan, write_scan
from pseudo3d.models import create_model
from pseudo3d.models.network import Network
from pseudo3d.weights import Card

pytest.importorskip("captum", reason="gradients need the extra `explain`")

FINE = How(cells=(8, 8, 8), check=True)
SPOT = (5, 2, 6)  # voxel of the network's grid that decides


class Voxel(Network):
    """Says "ill" when one voxel is bright; a number or a mask, if it is asked for one."""

    def __init__(self, task="classify", **pre):
        super().__init__()
        self.task, self.look = task, nn.Conv3d(1, 1, 1, bias=False)
        nn.init.ones_(self.look.weight)
        mask = torch.zeros(8, 8, 8)
        mask[SPOT] = 8.0
        self.register_buffer("mask", mask)
        card = {"name": "voxel", "config": {}, "classes": ("well", "ill")}
        training = {"task": task, "value_mean": 100.0, "value_std": 10.0}
        values = {"size": (8, 8, 8), "mean": (0.0,), "std": (1.0,), **pre}
        self.card = Card(**card, training=training, preprocessing=ScanPreprocessing(**values))

    def forward(self, x):
        seen = self.look(x)
        if self.task == "segment":
            return torch.cat([1 - seen, seen - 1], 1)
        seen = (seen * self.mask).sum((1, 2, 3, 4))
        return seen[:, None] / 8 if self.task == "regress" else torch.stack([4 - seen, seen - 4], 1)


def scan(size=(8, 8, 8), spacing=(2.0, 1.0, 1.0), at=SPOT):
    values = torch.zeros(1, *size)
    values[(0, *at)] = 1.0
    affine = np.diag([*spacing[::-1], 1.0])[:, [2, 1, 0, 3]]  # d leads up, w to the right
    return scan_of(values, affine, source="x.nii", kind="nifti")


@pytest.mark.parametrize("method", ["gradcam", "integrated", "occlusion"])
def test_the_voxel_that_decides_is_the_hottest(method):
    found = explain_scan(Voxel(), scan(), method=method, how=FINE)
    assert found.seen.target == "ill"
    assert found.hottest == SPOT
    assert found.heat.max() == 1
    assert found.importance.sum() == pytest.approx(1)
    assert int(found.importance.argmax()) == SPOT[0]
    assert found.seen.faithfulness.verdict == "faithful"
    plain = json.loads(json.dumps(found.to_dict()))
    assert plain["hottest_voxel"] == list(SPOT)
    assert plain["use"] == "research use only"
    assert len(plain["importance"]) == 8


def test_a_crop_and_turned_axes_are_undone():
    large = scan((12, 10, 14), at=(7, 3, 9))  # the crop starts at (2, 1, 3)
    assert explain_scan(Voxel(), large, method="integrated").hottest == (7, 3, 9)
    small = scan((6, 8, 8), at=(4, 2, 6))  # filled up by one slice on each side
    found = explain_scan(Voxel(), small, method="integrated")
    assert found.hottest == (4, 2, 6)
    assert found.heat.shape == (6, 8, 8)
    turned = Voxel(layout="RSA")  # depth of the network is the width of the file
    found = explain_scan(turned, scan(at=(2, 6, 5)), method="integrated")
    assert found.hottest == (2, 6, 5)
    assert found.depth_axis == 2
    assert int(found.importance.argmax()) == 5


def test_another_spacing_is_undone():
    spaced = Voxel(spacing=(1.0, 1.0, 1.0))
    file = scan((4, 8, 8), spacing=(2.0, 1.0, 1.0), at=(2, 2, 6))
    found = explain_scan(spaced, file, target="ill", method="integrated")
    assert found.heat.shape == (4, 8, 8)
    assert found.hottest == (2, 2, 6)


def test_a_number_is_explained_in_its_own_unit():
    found = explain_scan(Voxel("regress"), scan(), method="integrated")
    assert found.seen.answer == pytest.approx(110.0)
    assert found.hottest == SPOT


def test_of_a_mask_the_label_is_explained_where_it_is():
    torch.manual_seed(0)
    net = create_model("p3d_unet", widths=(4, 8), strides=((1, 2, 2),), depths=(1, 1))
    pre = ScanPreprocessing(size=(8, 8, 8), view="patch", mean=(0.0,), std=(1.0,))
    training = {"task": "segment"}
    net.card = Card(name="p3d_unet", config={}, classes=("none", "lesion"), training=training,
                    preprocessing=pre)  # fmt: skip
    file = scan((12, 16, 16), at=(9, 4, 11))
    found = explain_scan(net, file, target="lesion", how=How(cells=(4, 4, 4)))
    assert found.heat.shape == (12, 16, 16)
    assert found.seen.layer.startswith("stages")
    spotted = Voxel("segment")
    spotted.card = Card(**{**vars(spotted.card), "preprocessing": pre})
    two = scan((12, 16, 16), at=(9, 4, 11))
    two.array[0, 9, 4, 12] = 2.0
    spotted.look.weight.data *= 2
    found = explain_scan(spotted, two, method="integrated")
    assert found.seen.target == "ill"
    assert found.heat[9, 4, 11] > 0
    assert found.heat[9, 4, 12] > 0
    assert (found.heat > 1e-3).sum() < 100


def test_files_can_be_opened_again(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    found = explain_scan(Voxel(), scan(), method="integrated", how=FINE)
    files = {p.name: p for p in write_scan(found, tmp_path / "new", "x")}
    assert set(files) == {
        "x_heat.nii.gz", "x_planes.png", "x_importance.csv", "x_importance.png", "x.html",
    }  # fmt: skip
    image = nibabel.load(files["x_heat.nii.gz"])
    assert np.allclose(np.asarray(image.dataobj).T, found.heat, atol=1e-6)
    assert found.seen.verdict in files["x.html"].read_text("utf-8")


def test_networks_of_videos_and_exported_ones_are_refused(tmp_path):
    with pytest.raises(Pseudo3dError, match="an exported network"):
        explain_scan(lambda x: x, scan())
    with pytest.raises(Pseudo3dError, match="of videos"):
        explain_scan(nn.Linear(2, 2), scan())
    with pytest.raises(Pseudo3dError, match="'sick'"):
        explain_scan(ready(Voxel()), scan(), target="sick")
