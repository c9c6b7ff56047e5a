"""What is read off a set of scans: depth, grid, window, size, network."""

import numpy as np
import pytest
import torch

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import prepared
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.data.scans.write import write_like
from pseudo3d.engine.volumes.plan import plan_input, plan_network, with_statistics
from pseudo3d.engine.volumes.recipes import volume_recipe
from pseudo3d.errors import ManifestError
from pseudo3d.models import create_model


@pytest.fixture
def thick(tmp_path):
    """Files whose last axis has the thick slices: width leads up."""
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    items = []
    for i in range(3):
        affine = np.diag([0.5, 0.5, 6.0, 1.0])  # RAS
        values = torch.randn(40, 48, 7) * 50 + 300
        scan = scan_of(values[None], affine, source="x", kind="nifti")
        path = write_like(tmp_path / f"{i}.nii", values, scan)
        items.append(ScanItem(path=path, label="ab"[i % 2]))
    return ScanManifest(items=tuple(items), classes=("a", "b"))


def test_a_stack_is_taken_whole_as_it_is(bars):
    pre, told = plan_input(bars, volume_recipe("volume"))
    assert (pre.size, pre.spacing, pre.layout, pre.window) == ((8, 8, 8), None, None, "none")
    assert "8 x 8 x 8 voxels at once" in told[-1]


def test_thick_slices_become_depth_and_it_is_said(thick):
    pre, told = plan_input(thick, volume_recipe("volume"))
    assert pre.layout == "SRA"
    assert pre.spacing == (6.0, 0.5, 0.5)
    assert pre.size == (8, 40, 48)
    assert pre.window == "mri"
    assert "head-foot" in told[0]


def test_what_the_recipe_names_stays(thick):
    recipe = volume_recipe("volume").but(input={"size": (4, 16, 16), "spacing": (6.0, 1.0, 1.0)})
    pre, _ = plan_input(thick, recipe)
    assert (pre.size, pre.spacing) == ((4, 16, 16), (6.0, 1.0, 1.0))


def exported(folder, *windows):
    """The same CT, exported with other windows to be shown with; None names none."""
    dicoms = pytest.importorskip("data.scans.dicoms", reason="DICOM needs the extra `scans`")
    items = []
    for number, window in enumerate(windows):
        shown = {} if window is None else {"WindowCenter": window[0], "WindowWidth": window[1]}
        path = dicoms.series(folder / str(number), **shown)
        items.append(ScanItem(path=path, label="ab"[number % 2]))
    return ScanManifest(items=tuple(items), classes=("a", "b"))


def test_one_window_is_fixed_for_every_ct(tmp_path):
    part = exported(tmp_path, (40, 400), (40, 400), (-600, 1500))
    pre, told = plan_input(part, volume_recipe("volume"))
    assert pre.window == (-160.0, 240.0)
    assert "-160 to 240 HU become 0 to 1 in every scan" in " ".join(told)
    assert "warning: the scans ask for 2 different windows: -160 to 240 HU (2 scans), -1350" in (
        " ".join(told)
    )
    seen = [prepared(read_scan(item.path), pre)[1].array for item in part.items]
    assert torch.equal(seen[0], seen[2])


def test_where_no_window_leads_the_whole_range_of_ct_is_taken(tmp_path):
    pre, told = plan_input(exported(tmp_path, (40, 400), (-600, 1500)), volume_recipe("volume"))
    assert pre.window == (-1000.0, 1000.0)
    assert any(line.startswith("warning: ") for line in told)
    pre, told = plan_input(exported(tmp_path / "b", None, None), volume_recipe("volume"))
    assert pre.window == (-1000.0, 1000.0)
    assert not any(line.startswith("warning: ") for line in told)


def test_a_window_that_the_recipe_names_stays(tmp_path):
    part = exported(tmp_path, (40, 400), (-600, 1500))
    for given, wanted in (("lung", "lung"), ([-100, 300], (-100, 300))):
        pre, _ = plan_input(part, volume_recipe("volume").but(input={"window": given}))
        assert pre.window == wanted


def test_statistics_are_of_the_prepared_scans(bars):
    pre, _ = plan_input(bars, volume_recipe("volume"))
    store = with_statistics(ScanStore(pre), bars)
    volumes = torch.stack([store.read(item).volume for item in bars.items]).float()
    assert store.preprocessing.normalize(volumes).std().item() == pytest.approx(1, abs=0.05)
    assert with_statistics(store, bars) is store


def test_the_task_picks_the_network(bars, thick, blobs):
    for part, name in ((bars, "p3d_volume"), (read_scans(blobs), "p3d_unet")):
        pre, _ = plan_input(part, volume_recipe("segment" if name == "p3d_unet" else "volume"))
        found, options = plan_network(part, pre, None)
        assert found == name
        assert create_model(found, **options)(torch.zeros(1, 1, *pre.size)).shape[:2] == (1, 2)


@pytest.mark.parametrize("name", ["p3d_unet", "p3d_unet_slices", "p3d_unet_full"])
def test_every_twin_can_be_planned(name, blobs):
    part = read_scans(blobs)
    pre, _ = plan_input(part, volume_recipe("segment"))
    found, options = plan_network(part, pre, name)
    assert create_model(found, **options)(torch.zeros(1, 1, *pre.size)).shape[1] == 2


def test_nothing_readable_says_why(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"no scan")
    part = ScanManifest(items=(ScanItem(path=tmp_path / "a.nii", label="a"),), classes=("a", "b"))
    with pytest.raises(ManifestError, match=r"none of the scans .*a\.nii"):
        plan_input(part, volume_recipe("volume"))


def arrays(folder, **geometry):
    """Two npz files whose width has the thick slices."""
    rng = np.random.default_rng(0)
    for name in "ab":
        values = rng.normal(300, 50, (40, 48, 7)).astype(np.float32)
        np.savez(folder / f"{name}.npz", scan=values, **geometry)
    items = tuple(ScanItem(path=folder / f"{name}.npz", label=name) for name in "ab")
    return ScanManifest(items=items, classes=("a", "b"))


@pytest.mark.parametrize(
    ("geometry", "layout"),
    [
        ({"spacing": np.array([0.5, 0.5, 6.0])}, "RSA"),
        ({"affine": np.diag([0.5, 0.5, 6.0, 1.0])}, "SRA"),
    ],
)
def test_an_npz_that_states_its_geometry_is_planned_by_it(tmp_path, geometry, layout):
    pre, told = plan_input(arrays(tmp_path, **geometry), volume_recipe("volume"))
    assert (pre.layout, pre.spacing, pre.size) == (layout, (6.0, 0.5, 0.5), (8, 40, 48))
    assert "voxels of 6 x 0.5 x 0.5 mm" in told


def test_an_npz_without_geometry_is_taken_as_it_is(tmp_path):
    pre, _ = plan_input(arrays(tmp_path), volume_recipe("volume"))
    assert (pre.layout, pre.spacing, pre.window) == (None, None, "none")
    assert pre.size == (40, 48, 7)
