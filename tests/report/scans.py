"""A made scan whose voxels say where they are, in any of the 48 orientations."""

from itertools import permutations, product

import numpy as np
import torch

from pseudo3d.data.scans.scan import scan_of

SIZE_MM = (24.0, 20.0, 16.0)  # x (right), y (front), z (up)
STEP_MM = (1.0, 2.0, 4.0)
ALL = list(product(permutations(range(3)), product((False, True), repeat=3)))


def body():
    """Voxels (x, y, z) in RAS+, 24 x 10 x 4: brighter to the right, the front, the top."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in (24, 10, 4)), indexing="ij")
    return (100 * z + 10 * y + x).astype(np.float32)


def blob():
    """Heat with its top right, front, up: at x 20, y 7, z 3."""
    x, y, z = np.meshgrid(*(np.arange(n) for n in (24, 10, 4)), indexing="ij")
    return np.exp(-((x - 20) ** 2 / 8 + (y - 7) ** 2 / 4 + (z - 3) ** 2)).astype(np.float32)


def oriented(order=(2, 1, 0), flips=(False, False, False), **rest):
    """The body stored with its axes in another order and direction, and its heat."""
    step = np.diag([*STEP_MM, 1.0])
    step[:3, 3] = (-10, -8, 5)
    image, heat = (np.transpose(v, order) for v in (body(), blob()))
    affine = step[:, [*order, 3]]
    for axis, flip in enumerate(flips):
        if flip:
            image, heat = np.flip(image, axis), np.flip(heat, axis)
            affine[:3, 3] += affine[:3, axis] * (image.shape[axis] - 1)
            affine[:, axis] *= -1
    array = torch.from_numpy(np.ascontiguousarray(image))[None]
    options = {"source": "made.nii", "kind": "nifti", **rest}
    return scan_of(array, affine, **options), np.ascontiguousarray(heat)
