"""Parts of a manifest that cannot be trained on, or watched."""

import pytest

from pseudo3d.engine.volumes.train import ScanParts
from pseudo3d.errors import ManifestError


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_part_of_one_class_is_refused_before_the_training(bars, part):
    one = bars.pick(item.label == "0" for item in bars.items)
    parts = {"train": bars.split("train"), "val": bars.split("val"), part: one}
    with pytest.raises(ManifestError, match="fewer than two classes"):
        ScanParts(**parts)


def test_numbers_and_masks_have_no_classes_to_lack(blobs):
    from pseudo3d.data.scans.manifest import read_scans

    manifest = read_scans(blobs)
    assert ScanParts(train=manifest.split("train"), val=manifest.split("val")).held is None


def test_scans_from_the_cache_are_those_of_the_files(blobs, tmp_path):
    import torch

    from pseudo3d.data.scans.cache import ScanCache
    from pseudo3d.data.scans.dataset import ScanStore
    from pseudo3d.data.scans.manifest import read_scans
    from pseudo3d.data.scans.preprocess import ScanPreprocessing

    pre = ScanPreprocessing(size=(8, 8, 8), view="patch", layout="RAS", spacing=(1.0, 1.0, 1.0))
    item = read_scans(blobs).items[0]
    plain = ScanStore(pre).read(item)
    cached = ScanStore(pre, cache=ScanCache(tmp_path))
    again = [cached._prepare(item) for _ in range(2)]  # filled, then mapped
    assert any(tmp_path.iterdir())
    for sample in again:
        assert torch.equal(sample.volume, plain.volume)
        assert torch.equal(sample.mask, plain.mask)
