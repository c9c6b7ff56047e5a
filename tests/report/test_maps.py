"""Pictures are written, whatever the labels."""

import numpy as np
import pytest
from PIL import Image

from pseudo3d.report.maps import Cell, enlarged, frames_png, map_png, sheet_png, timecheck_png

SHARES = {"in order": (1.0, 0.9, 1.0), "shuffled": (0.5, 0.4, 0.6), "reversed": (0.0, 0.0, 0.1)}


def size(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return image.size


def test_bars_stand_alone_or_above_their_classes(tmp_path):
    bare = size(timecheck_png(SHARES, tmp_path / "bare.png"))
    rows = {f"class {i}": dict.fromkeys(SHARES, i / 9) for i in range(9)}
    full = timecheck_png(
        SHARES, tmp_path / "full.png", per_class=rows, guessing=0.3, title="long " * 40
    )
    assert size(full)[1] > bare[1] + 200
    many = {f"class {i}": dict.fromkeys(SHARES, 0.5) for i in range(41)}
    assert size(timecheck_png(SHARES, tmp_path / "many.png", per_class=many)) == bare


@pytest.mark.parametrize("labels", [["a", "b", None], [None], [f"label {i}" for i in range(60)]])
def test_maps_take_any_number_of_labels(tmp_path, labels):
    points = np.random.default_rng(0).normal(size=(120, 2))
    names = [labels[i % len(labels)] for i in range(120)]
    path = map_png(points, names, tmp_path / "map.png", title="t", note="n")
    assert size(path)[0] > 900
    map_png(points, names, tmp_path / "pca.png", axes=("1st", "2nd"))


def test_a_sheet_frames_right_and_wrong_neighbors_in_other_colors(tmp_path):
    image = np.full((40, 60, 3), 255, np.uint8)
    cells = [Cell(image=image, text="a", right=right) for right in (None, True, False)]
    path = sheet_png([cells, cells], tmp_path / "sheet.png", title="title")
    found = np.asarray(Image.open(path))
    corners = {tuple(found[y, x]) for y, x in np.argwhere((found != 255).any(2)).tolist()}
    assert {(0, 122, 90), (194, 74, 0), (68, 68, 68)} <= corners
    with pytest.raises(ValueError, match="no cells"):
        sheet_png([], tmp_path / "none.png")


def test_frames_stand_side_by_side_and_large_enough(tmp_path):
    clip = np.zeros((12, 48, 40, 3), np.uint8)
    width, height = size(frames_png({"a": clip, "b": clip}, tmp_path / "frames.png"))
    assert width > 8 * 144
    assert height > 2 * 144
    assert enlarged(clip[0], 96).shape == (115, 96, 3)
    frame = clip[0]
    assert enlarged(frame, 20) is frame
