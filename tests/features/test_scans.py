"""Features of scans: the rows that the network computes, under names that tell scans apart."""

import numpy as np
import pytest
import torch

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.volumes.ready import ready
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.features import linear
from pseudo3d.features.extract import Extraction, extract
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.features.scans import windows_of
from pseudo3d.features.sources import open_extractor
from pseudo3d.models import create_model
from pseudo3d.weights import save

SMALL = {"widths": (4, 8, 8), "stem_width": 4, "in_channels": 1, "num_classes": 2}
WHOLE = ScanPreprocessing(size=(8, 8, 8), mean=(20.0,), std=(40.0,))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    """Bright and dark cubes of 8 voxels a side."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 12), ("test", 6)):
        labels = np.arange(count) % 2
        noise = rng.integers(0, 30, (count, 8, 8, 8))
        arrays[f"{split}_images"] = (noise + 150 * labels[:, None, None, None]).astype(np.uint8)
        arrays[f"{split}_labels"] = labels[:, None]
    path = tmp_path_factory.mktemp("stack") / "cubes.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture
def weights(tmp_path):
    def make(pre=WHOLE, name="p3d_volume", classes=("0", "1"), **options):
        torch.manual_seed(0)
        net = create_model(name, **{**SMALL, **options}).eval()
        path = tmp_path / f"{name}.safetensors"
        save(net, path, classes=classes, preprocessing=pre, training={"task": "classify"})
        return path

    return make


def test_rows_are_what_the_network_computes_and_load_back(stack, weights, tmp_path):
    listed, path = read_scans(stack), weights()
    found = extract(path, listed, layers=["pool5", "res3"], out=tmp_path / "f.npz")
    back = FeatureSet.load(tmp_path / "f.npz")
    run = ready(path)
    with np.load(stack) as file:
        volumes = np.concatenate([file["train_images"], file["test_images"]])
    with torch.inference_mode():
        x = run.pre.normalize(torch.from_numpy(volumes)[:, None])
        want = run.net.features(x).numpy()
    np.testing.assert_allclose(back.layer("pool5"), want, rtol=1e-4, atol=1e-5)
    assert back.layer("res3").shape == (18, 8)
    assert back.paths == tuple(item.name for item in listed.items)
    assert len(set(back.paths)) == 18  # of one file
    assert back.splits.count("test") == 6
    assert back.meta["protocol"] == found.meta["protocol"] == "the middle of each scan"
    assert linear.train_test(back.split("train"), back.split("test"), layer_options()).accuracy == 1


def layer_options():
    from pseudo3d.features.svm import Linear

    return Linear(layers=("pool5",))


def test_a_killed_run_goes_on_where_it_stopped(stack, weights, tmp_path):
    listed, out = read_scans(stack), tmp_path / "f.npz"

    def kill(done, total):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        extract(weights(), listed, out=out, progress=kill)
    steps = []
    again = extract(weights(), listed, out=out, progress=lambda done, total: steps.append(done))
    assert steps == list(range(8, 19))
    assert np.array_equal(again.layer("pool5"), extract(weights(), listed).layer("pool5"))


def test_mirrored_is_the_mean_of_both_images(stack, weights, tmp_path):
    listed, path = read_scans(stack), weights()
    with np.load(stack) as file:
        flipped = {k: x[..., ::-1] if x.ndim == 4 else x for k, x in file.items()}
    np.savez(tmp_path / "flipped.npz", **flipped)
    both = extract(path, listed, mirror=True)
    one, other = extract(path, listed), extract(path, read_scans(tmp_path / "flipped.npz"))
    want = (one.layer("pool5") + other.layer("pool5")) / 2
    np.testing.assert_allclose(both.layer("pool5"), want, rtol=1e-4, atol=1e-6)
    assert "mirror image" in both.meta["protocol"]


def test_windows_cover_a_scan_that_is_looked_at_in_patches(stack, weights):
    pre = ScanPreprocessing(size=(4, 8, 8), view="patch", mean=(20.0,), std=(40.0,))
    volume = torch.arange(10.0).view(1, 10, 1, 1).expand(1, 10, 8, 6)
    windows = windows_of(volume, pre)
    assert windows.shape == (3, 1, 4, 8, 8)
    assert set(windows.unique().tolist()) == set(range(10))
    found = extract(weights(pre), read_scans(stack))
    assert found.meta["protocol"] == "mean of windows side by side"
    assert found.layer("pool5").shape == (18, 8)


def test_yardsticks_take_the_input_of_a_network(stack):
    listed = read_scans(stack)
    for name in ("pixels", "random:p3d_volume"):
        found = extract(open_extractor(name, preprocessing=WHOLE), listed)
        assert len(found) == 18
    with pytest.raises(WeightsError, match="takes videos, these are scans"):
        extract("pixels", listed)


def test_what_cannot_be_is_refused(stack, weights, tmp_path):
    path, listed = weights(), read_scans(stack)
    videos = Manifest((Item(path=tmp_path / "a.mp4", label="x"),), ("x",))
    with pytest.raises(WeightsError, match="takes scans, these are videos"):
        extract(path, videos)
    with pytest.raises(Pseudo3dError, match="are of videos"):
        extract(path, listed, how=Extraction(per_clip=True))
    unet = {"widths": (4, 8), "depths": (1, 1), "strides": ((1, 2, 2),)}
    net = create_model("p3d_unet", in_channels=1, num_classes=2, **unet)
    with pytest.raises(Pseudo3dError, match="has no pool5; name a stage"):
        extract(open_extractor(net, preprocessing=WHOLE), listed)
    found = extract(open_extractor(net, ["res3"], preprocessing=WHOLE), listed)
    assert found.layer("res3").shape == (18, 8)


def test_a_scan_that_cannot_be_read_is_named(weights, tmp_path):
    np.save(tmp_path / "good.npy", np.zeros((8, 8, 8), np.uint8))
    (tmp_path / "bad.npy").write_bytes(b"nothing")
    items = tuple(ScanItem(path=tmp_path / f"{n}.npy", label="") for n in ("good", "bad"))
    found = extract(weights(), ScanManifest(items=items, classes=()))
    assert found.paths == (str(tmp_path / "good.npy"),)
    assert list(found.meta["missing"]) == [str(tmp_path / "bad.npy")]
