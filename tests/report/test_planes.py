"""Planes and slices: the same picture from all 48 orientations, true proportions, letters."""

import numpy as np
import pytest
import torch
from PIL import Image

from pseudo3d.data.scans.scan import scan_of
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.planes import PlanesOptions, plane_rgb, planes_png, round_length
from pseudo3d.report.slices import SliceCurve, curve_of, slice_curve, slices_png
from pseudo3d.report.view import describe_geometry, hottest, place, upright, view_of
from report.scans import ALL, STEP_MM, blob, body, oriented

# upright axes are (down, back, left): the reverse of (z, y, x) in RAS+
UPRIGHT = body().transpose(2, 1, 0)[::-1, ::-1, ::-1]


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


@pytest.mark.parametrize(("order", "flips"), ALL)
def test_all_orientations_give_the_same_upright_scan(order, flips):
    scan, heat = oriented(order, flips)
    view = view_of(scan, heat)
    turned = upright(view)
    assert (turned.turn(view.image) == UPRIGHT).all()
    assert turned.spacing == STEP_MM[::-1]
    assert turned.planes == ("axial", "coronal", "sagittal")
    voxel = hottest(view)
    assert view.world(voxel) == (10.0, 6.0, 17.0)  # where the heat is, whatever the storage
    at = turned.to_upright(voxel)
    assert at == (0, 2, 3)
    assert turned.to_voxel(at) == voxel
    assert turned.turn(view.image)[at] == view.image[voxel]


def test_letters_name_the_sides_of_radiological_pictures():
    turned = upright(view_of(oriented()[0]))
    axial, coronal, sagittal = turned.edges
    assert axial == ("R", "L", "A", "P")
    assert coronal == ("R", "L", "S", "I")
    assert sagittal == ("A", "P", "S", "I")
    # brightness grows to the right, the front, the top: left, top and first slice are brighter
    view = view_of(oriented((0, 2, 1), (True, False, True))[0], window=(0, 500))
    for plane in range(3):
        rgb = plane_rgb(view, upright(view), plane, 1)
        assert rgb[:, 0].mean() > rgb[:, -1].mean()
        assert rgb[0].mean() > rgb[-1].mean()


def test_heat_lies_on_its_voxel_and_a_mask_has_the_color_of_its_label():
    scan, heat = oriented()
    view = view_of(scan, heat, window=(0, 1e6))  # black scan: only heat is seen
    rgb = plane_rgb(view, upright(view), 0, 0, 1.0).sum(-1)
    assert np.unravel_index(rgb.argmax(), rgb.shape) == (2, 3)
    mask = (heat > 0.5).astype(np.uint8) * 2
    painted = plane_rgb(view_of(scan, mask, kind="mask", window=(0, 1e6)), upright(view), 0, 0, 1.0)
    assert painted[2, 3] == pytest.approx([0x00 / 255, 0x9E / 255, 0x73 / 255])
    assert plane_rgb(view, upright(view), 0, 0, 0.0).max() < 1e-3


def test_a_scan_that_does_not_say_how_it_lies_is_shown_as_stored_without_letters():
    array = torch.arange(2 * 3 * 4).reshape(1, 2, 3, 4).float()
    for kind, meta in (("npz", {}), ("nifti", {"geometry": "none"})):
        scan = scan_of(array, np.diag([-1.0, 1, 1, 1]), source="x", kind=kind, meta=meta)
        view = view_of(scan)
        turned = upright(view)
        assert (turned.turn(view.image) == array[0].numpy()).all()
        assert {letter for edges in turned.edges for letter in edges} == {""}
        assert "does not say" in " ".join(describe_geometry(view))
        assert not view.measured  # no scale bar for an assumed millimeter
    assert view_of(oriented()[0]).measured
    told = scan_of(
        array, np.eye(4), source="x", kind="npz", meta={"geometry": "affine of the file"}
    )
    assert view_of(told).placed


def test_oblique_scans_say_so():
    angle = np.radians(20)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scan = scan_of(torch.rand(1, 3, 3, 3), turn, source="x", kind="nifti")
    assert "oblique by 20 degrees" in " ".join(describe_geometry(view_of(scan)))
    assert "oblique" not in " ".join(describe_geometry(view_of(oriented()[0])))


def test_pictures_keep_the_proportions_of_the_body(tmp_path):
    """One bright voxel of 4 x 2 x 1 mm is drawn 4 high and 1 wide in the coronal plane."""
    array = np.zeros((5, 9, 9), dtype=np.float32)
    array[2, 4, 4] = 1
    affine = np.diag([4.0, 2.0, 1.0, 1.0])[[2, 1, 0, 3]]
    scan = scan_of(torch.from_numpy(array)[None], affine, source="x", kind="nifti")
    view = view_of(scan, window=(0.0, 1.0))
    options = PlanesOptions(at=(2, 4, 4), crosshair=False)
    image = picture(planes_png(view, tmp_path / "p.png", options))
    dark = (image.max(-1) < 10).mean(0) > 0.2
    panes = np.flatnonzero(np.diff(dark.astype(int)))
    found = []
    for left, right in panes.reshape(-1, 2):
        pane = image[:, left + 1 : right]
        rows = np.flatnonzero((pane.max(-1) < 10).mean(1) > 0.3)
        pane = pane[rows[0] : rows[-1] + 1].min(-1)
        h, w = pane.shape
        # the middle, away from letters and the scale bar
        pane = pane[int(0.3 * h) : int(0.7 * h), int(0.3 * w) : int(0.7 * w)] > 250
        found.append([int(pane.any(axis).sum()) for axis in (1, 0)])
    unit = found[0][1]  # one mm
    assert np.array(found) / unit == pytest.approx(np.array([[2, 1], [4, 1], [4, 2]]), rel=0.1)


def test_the_crosshair_goes_through_the_middle_of_the_voxel(tmp_path):
    array = np.zeros((4, 10, 20), dtype=np.float32)
    scan = scan_of(
        torch.from_numpy(array)[None],
        np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]],
        source="x",
        kind="nifti",
    )
    view = view_of(scan, window=(0.0, 1.0))
    image = picture(planes_png(view, tmp_path / "p.png", PlanesOptions(at=(1, 2, 3))))
    dark = np.flatnonzero((image.max(-1) < 10).mean(0) > 0.2)
    left, right = dark[0], dark[np.flatnonzero(np.diff(dark) > 15)[0]]  # of the axial plane
    blue = (image[..., 2] > 150) & (image[..., 0] < 150)
    column = np.flatnonzero(blue[:, left:right].mean(0) > 0.2).mean()
    # the fourth voxel from the patient's left is 16.5 from his right, where the picture begins
    assert column / (right - left) == pytest.approx(16.5 / 20, abs=0.01)


def test_the_picture_changes_with_every_option(tmp_path):
    scan, heat = oriented()
    view = view_of(scan, heat)
    plain = picture(planes_png(view, tmp_path / "a.png"))
    for i, options in enumerate(
        (
            PlanesOptions(at=(0, 0, 0)),
            PlanesOptions(title="ill 93 %"),
            PlanesOptions(opacity=1.0),
            PlanesOptions(crosshair=False),
        )
    ):
        other = picture(planes_png(view, tmp_path / f"{i}.png", options))
        assert other.shape != plain.shape or (other != plain).any()


def test_the_thickest_part_of_a_mask_is_where_to_look_and_the_middle_without_one():
    scan, _ = oriented()
    mask = np.zeros(scan.size, dtype=np.uint8)
    mask[0, 0, :3] = 1  # thin
    mask[1:4, 4:9, 12:22] = 2  # thick
    d, h, w = hottest(view_of(scan, mask, kind="mask"))
    assert mask[d, h, w] == 2
    assert (5 <= h <= 7, 14 <= w <= 19) == (True, True)
    everywhere = np.ones(scan.size, dtype=np.uint8)
    assert hottest(view_of(scan, everywhere, kind="mask"))[1:] in ((4, 11), (5, 12), (4, 12))
    assert hottest(view_of(scan)) == tuple(n // 2 for n in scan.size)
    assert hottest(view_of(scan, np.zeros(scan.size))) == tuple(n // 2 for n in scan.size)


def test_windows_come_from_the_scan():
    scan, _ = oriented()
    assert view_of(scan, window=(1, 2)).window == (1, 2)
    low, high = view_of(scan).window
    assert 0 <= low < 10 < 400 < high
    ct, _ = oriented(units="HU")
    assert view_of(ct, window="brain").window == (0.0, 80.0)
    flat = scan_of(torch.full((1, 2, 2, 2), 7.0), np.eye(4), source="x", kind="npy")
    assert view_of(flat).window == (7.0, 8.0)


def test_heat_below_0_is_clipped_or_shifted_and_that_is_said():
    scan, heat = oriented()
    assert view_of(scan, heat).notes == ()
    logits = view_of(scan, heat - 0.5)
    np.testing.assert_array_equal(logits.overlay, np.clip(heat - 0.5, 0, None))
    assert logits.notes == ("the heat map goes down to -0.5: shown from 0 on",)
    against = view_of(scan, heat - 3)
    assert against.overlay.min() == 0
    assert hottest(against) == hottest(view_of(scan, heat))
    assert "nowhere above 0" in against.notes[0]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("overlay", "options", "why"),
    [
        (np.zeros((2, 2, 2)), {}, "one grid"),
        (np.full((4, 10, 24), -1.0), {"kind": "mask"}, "from 0 on"),
        (np.full((4, 10, 24), np.nan), {}, "finite"),
        (np.full((4, 10, 24), 0.5), {"kind": "mask"}, "whole numbers"),
        (None, {"channel": 1}, "channel 1"),
        (None, {"window": (3.0, 3.0)}, "low below high"),
    ],
)
def test_what_cannot_be_shown_is_refused(overlay, options, why):
    with pytest.raises(Pseudo3dError, match=why):
        view_of(oriented()[0], overlay, **options)


def test_places_outside_the_scan_and_odd_opacities_are_refused(tmp_path):
    with pytest.raises(Pseudo3dError, match="outside"):
        planes_png(view_of(oriented()[0]), tmp_path / "x.png", PlanesOptions(at=(9, 0, 0)))
    with pytest.raises(Pseudo3dError, match="opacity"):
        PlanesOptions(opacity=2)


def test_places_have_the_letters_of_their_side():
    assert place((-30.2, 46.0, -14.66)) == "L 30.2  A 46.0  I 14.7 mm"
    assert place((30.2, -46.0, 14.66)) == "R 30.2  P 46.0  S 14.7 mm"


@pytest.mark.parametrize(("most", "length"), [(37, 20), (5, 5), (0.19, 0.1), (100, 100)])
def test_scale_bars_have_round_lengths(most, length):
    assert round_length(most) == pytest.approx(length)


def test_the_curve_has_a_value_and_a_place_for_each_slice():
    scan, heat = oriented((2, 1, 0), (True, False, False))
    curve = slice_curve(view_of(scan, heat))
    assert curve.values.tolist() == heat.max((1, 2)).tolist()
    assert curve.positions.tolist() == [17, 13, 9, 5]
    assert (curve.direction, curve.spacing, curve.peak) == ("S", 4.0, 0)
    assert curve.to_csv().splitlines()[1] == "0,17.000,1"
    across = slice_curve(view_of(scan, heat), axis=2, how="mean")
    assert across.values == pytest.approx(heat.mean((0, 1)))
    assert (across.direction, across.peak) == ("R", 20)
    mask = view_of(scan, (heat > 0.5).astype(np.uint8), kind="mask")
    assert slice_curve(mask).values.tolist() == ((heat > 0.5).sum((1, 2)) * 2.0).tolist()


def test_the_area_of_a_mask_is_that_of_sheared_pixels():
    affine = np.diag([1.0, 2.0, 4.0, 1.0])[:, [2, 1, 0, 3]]
    tilted = affine.copy()
    tilted[:3, 0] += affine[:3, 1]  # a step of depth goes along height, too
    for shown in (affine, tilted):  # 4 mm deep, 2 mm high: the tilt takes nothing off
        scan = scan_of(torch.zeros(1, 3, 3, 3), shown, source="x", kind="nifti")
        view = view_of(scan, np.ones((3, 3, 3), np.uint8), kind="mask")
        assert slice_curve(view, axis=2).values == pytest.approx([9 * 4.0 * 2.0] * 3)


def test_slices_that_nothing_is_known_of_are_empty_and_no_peak(tmp_path):
    curve = SliceCurve(values=np.array([np.nan, 0.2, 0.7, np.nan]), what="ill")
    assert curve.to_csv().splitlines()[1:] == ["0,,", "1,,0.2", "2,,0.7", "3,,"]
    assert curve.peak == 2
    assert picture(slices_png(curve, tmp_path / "a.png", threshold=0.5)).size
    with pytest.raises(Pseudo3dError, match="without a number"):
        SliceCurve(values=np.full(3, np.nan), what="ill")


def test_curves_are_drawn(tmp_path):
    scan, heat = oriented()
    view = view_of(scan, heat)
    plain = picture(slices_png(slice_curve(view), tmp_path / "a.png"))
    titled = picture(slices_png(slice_curve(view), tmp_path / "b.png", title="ill", threshold=0.3))
    assert (plain != titled).any()
    long = SliceCurve(values=np.random.default_rng(0).random(300), what="probability")
    assert picture(slices_png(long, tmp_path / "c.png")).size
    assert blob().max() == 1.0


@pytest.mark.usefixtures("unchecked")
def test_curves_that_do_not_fit_are_refused():
    scan, _ = oriented()
    view = view_of(scan)
    with pytest.raises(Pseudo3dError, match="no heat map"):
        slice_curve(view)
    with pytest.raises(Pseudo3dError, match="slices"):
        curve_of(view, np.zeros(3), "x")
    with pytest.raises(Pseudo3dError, match="positions"):
        SliceCurve(values=np.zeros(3), what="x", positions=np.zeros(2))
