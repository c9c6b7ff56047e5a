"""Made lesions: known, repeatable, and nothing in any single slice."""

import numpy as np
import pytest
import torch

from pseudo3d.data.scans.lesions import LesionSpec, lesioned, make_lesion_set
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.scan import scan_of
from pseudo3d.data.scans.write import write_like
from pseudo3d.errors import Pseudo3dError


def background(size=(30, 32, 34), spacing=(1.0, 1.0, 1.0)):
    d, h, w = (torch.linspace(-1, 1, n) for n in size)
    values = 100 * torch.exp(-(d[:, None, None] ** 2 + h[:, None] ** 2 + w**2))
    return scan_of(values[None], np.diag([*spacing, 1.0]), source="b.nii", kind="nifti")


def inside_and_outside(numbers=range(40)):
    """Values of lesions and of the same places without them, many scans."""
    spec, clean = LesionSpec(most=3, noise=2.0), []
    for number in numbers:
        volume, mask = lesioned(background(), spec, number)
        clean.append((volume, mask > 0))
    return clean


def test_lesions_follow_from_seed_and_number():
    one, same, other = (lesioned(background(), LesionSpec(), n) for n in (3, 3, 4))
    assert torch.equal(one[0], same[0])
    assert not torch.equal(one[0], other[0])


def test_in_a_slice_a_lesion_is_distributed_as_what_is_around_it():
    base = lesioned(background(), LesionSpec(noise=1e-6, most=0))[0]
    found = inside_and_outside()
    noise = [(v - base)[m] for v, m in found]
    around = [(v - base)[~m] for v, m in found]
    slices = [(v - base)[i][m[i]] for v, m in found for i in (10, 15, 20) if m[i].any()]
    assert float(torch.cat(noise).std()) == pytest.approx(float(torch.cat(around).std()), rel=0.06)
    assert torch.cat(slices).mean().abs() < 0.25
    neighbors = [
        ((v - base)[i, :, 1:] * (v - base)[i, :, :-1])[m[i, :, 1:] & m[i, :, :-1]]
        for v, m in found
        for i in (12, 18)
    ]
    assert torch.cat(neighbors).mean().abs() < 0.5  # of a variance of 4: no texture either


def test_across_slices_a_lesion_stands_still():
    base = lesioned(background(), LesionSpec(noise=1e-6, most=0))[0]
    for volume, mask in inside_and_outside(range(5)):
        noise, both = volume - base, mask[1:] & mask[:-1]
        steps = (noise[1:] - noise[:-1]).abs()
        if both.any():
            assert steps[both].max() < 1e-4
        assert steps[~mask[1:] & ~mask[:-1]].mean() > 1


def test_sizes_are_millimeters():
    spec = LesionSpec(most=1, radius=(6.0, 6.0))
    scan = background((14, 40, 40), (3.0, 1.0, 1.0))
    masks = [lesioned(scan, spec, n)[1] for n in range(8)]
    spots = next(mask.nonzero() for mask in masks if mask.any())
    extent = (spots.max(0).values - spots.min(0).values + 1) * torch.tensor([3, 1, 1])
    assert all(9 <= e <= 15 for e in extent.tolist())


def test_impossible_specs_are_refused():
    with pytest.raises(Pseudo3dError, match="wanted 0 < shortest"):
        LesionSpec(radius=(5.0, 4.0))


def test_a_set_is_written_with_one_person_in_one_split(tmp_path):
    pytest.importorskip("nibabel", reason="writing NIfTI needs the extra `scans`")
    paths = [
        write_like(
            tmp_path / f"p{i}.nii.gz", background((12, 14, 16)).array[0], background((12, 14, 16))
        )
        for i in range(6)
    ]
    made = read_scans(make_lesion_set(paths, tmp_path / "set", shares=(0.5, 0.2)))
    assert made.task == "segment"
    assert [len(made.split(s).items) for s in ("train", "val", "test")] == [3, 1, 2]
    assert len({item.group for item in made.items}) == 6
