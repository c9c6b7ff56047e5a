"""The page: one file, right voxels, and in a real browser the right slice, label and position."""

import html
import json
import re
import shutil
import subprocess
import zlib
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pseudo3d.data.scans.scan import scan_of
from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.slices import SliceCurve, slice_curve
from pseudo3d.report.view import RESEARCH, view_of
from pseudo3d.report.viewer import Finding, ViewerOptions, write_viewer
from pseudo3d.report.voxels import fitting_size, pack_image, pack_overlay, shrink, unpack
from report.scans import ALL, oriented

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOUND = Finding(label="ill", prob=0.934, top=(("ill", 0.934), ("healthy", 0.066)))


def stored(path):
    text = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.S)[1])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), size=st.tuples(*[st.integers(1, 6)] * 3))
def test_codes_come_back_as_they_were(seed, size):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 256, size).astype(np.uint8)
    assert (unpack(pack_overlay(mask, "mask")) == mask).all()
    smooth = np.cumsum(rng.integers(0, 2, size), axis=2).astype(np.float32)
    packed = pack_image(smooth, (0.0, 5.0))
    assert (packed.table[unpack(packed)] == smooth).all()
    assert packed.error == 0


def test_differences_are_smaller_where_a_scan_is_smooth():
    ramp = np.add.outer(np.add.outer(np.arange(9), np.arange(40)), np.arange(50)).astype(np.float32)
    packed = pack_image(ramp, (0.0, 90.0))
    assert packed.filtered
    assert len(packed.data) < len(zlib.compress(ramp.astype(np.uint8).tobytes())) / 2


def test_gray_values_are_off_by_no_more_than_is_said():
    rng = np.random.default_rng(0)
    ct = rng.choice([-1000.0, 40.0, 60.0, 700.0], (20, 30, 30), p=[0.5, 0.2, 0.25, 0.05])
    ct = (ct + rng.normal(0, 15, ct.shape)).astype(np.float32)
    packed = pack_image(ct, (-160.0, 240.0))
    shown = packed.table[unpack(packed)]
    inside = (ct >= -160) & (ct <= 240)
    gaps = np.abs(ct - shown)[inside]
    assert gaps.max() <= packed.error + 1e-6
    assert packed.typical == pytest.approx(np.sqrt((gaps**2).mean()), rel=1e-6)
    even = (ct.max() - ct.min()) / 256 / np.sqrt(12)
    assert packed.typical < 0.7 * even  # better than 256 even steps
    everywhere = np.sqrt(((ct - shown) ** 2).mean())
    assert everywhere < 0.8 * even  # air and bone too
    dense = rng.uniform(0, 100, (20, 30, 30)).astype(np.float32)
    packed = pack_image(dense, (0.0, 100.0))
    worst = np.abs(dense - packed.table[unpack(packed)]).max()
    assert 0.7 * packed.error < worst <= packed.error  # the bound is no wild guess
    assert np.isinf(pack_image(ct, (5000.0, 6000.0)).error)


def test_heat_never_vanishes_and_is_nearly_exact():
    heat = np.zeros((3, 3, 3), dtype=np.float32)
    heat[0, 0, 0], heat[1, 1, 1], heat[2, 2, 2] = 1.0, 0.5, 1e-3
    packed = pack_overlay(heat, "heat")
    shown = packed.table[unpack(packed)]
    assert ((shown > 0) == (heat > 0)).all()
    assert shown[0, 0, 0] == 1.0
    assert shown[1, 1, 1] == pytest.approx(0.5, abs=1 / 255)


def test_the_finest_axes_give_way_first():
    assert fitting_size((20, 512, 512), (6.5, 0.4, 0.4), 20 * 256 * 256) == (20, 256, 256)
    assert fitting_size((10, 10, 10), (1.0, 1.0, 1.0), 1000) == (10, 10, 10)
    assert fitting_size((10, 10, 10), (1.0, 1.0, 1.0), 125) == (5, 5, 5)


@pytest.mark.parametrize("size", [(4, 5, 6), (3, 4, 5), (8, 10, 12), (1, 1, 1)])
def test_shrinking_keeps_mean_place_and_peak(size):
    ramp = np.arange(8 * 10 * 12, dtype=np.float32).reshape(8, 10, 12)
    small = shrink(ramp, size, largest=False)
    assert small.shape == size
    assert small.mean() == pytest.approx(ramp.mean(), rel=1e-3)
    assert shrink(ramp, size, largest=True).max() == ramp.max()
    holes = ramp.copy()
    holes[0, 0, 0] = np.nan
    assert np.isfinite(shrink(holes, size, largest=False, empty=-5)).all()


@pytest.mark.parametrize(("order", "flips"), ALL[::5])
def test_the_page_holds_the_upright_voxels_and_the_way_back(order, flips, tmp_path):
    scan, heat = oriented(order, flips)
    page = write_viewer(view_of(scan, heat), tmp_path / "v.html")
    data = stored(page)
    assert data["size"] == data["full"] == [4, 10, 24]
    assert data["spacing"] == [4.0, 2.0, 1.0]
    codes = zlib.decompress(b64decode(data["overlay"]["data"]))
    assert len(codes) == 4 * 10 * 24
    voxel = [0, 0, 0]
    for k in range(3):
        n = data["full"][k]
        voxel[data["axes"][k]] = n - 1 - data["hot"][k] if data["flips"][k] else data["hot"][k]
    assert heat[tuple(voxel)] == heat.max()
    assert data["affine"] == scan.affine[:3].tolist()


def test_a_page_is_one_file_that_asks_for_nothing(tmp_path):
    scan, heat = oriented()
    hostile = Finding(label="</script><b>ill", notes=("{{style}} <i>note",))
    options = ViewerOptions(title="<i>{{script}}")
    text = write_viewer(
        view_of(scan, heat), tmp_path / "v.html", finding=hostile, options=options
    ).read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=|url\(|@import|fetch\(|XMLHttp", text)
    assert text.count("</script>") == 2
    assert "<title>&lt;i&gt;{{script}}</title>" in text
    assert text.count(html.escape(RESEARCH)) == 2
    assert stored(tmp_path / "v.html")["label"] == hostile.label
    assert "{{style}} <i>note" in stored(tmp_path / "v.html")["facts"]


def test_too_many_voxels_are_averaged_and_the_page_says_so(tmp_path):
    rng = np.random.default_rng(0)
    array = torch.from_numpy(rng.normal(size=(1, 48, 96, 96)).astype(np.float32))
    affine = np.diag([1.0, 1.0, 3.0, 1.0])[:, [2, 1, 0, 3]]
    scan = scan_of(array, affine, source="noise.nii", kind="nifti")
    heat = np.zeros(scan.size, dtype=np.float32)
    heat[30, 70, 20] = 1  # one voxel must survive
    view = view_of(scan, heat)
    page = write_viewer(view, tmp_path / "v.html", options=ViewerOptions(megabytes=0.4))
    data = stored(page)
    assert 0.2e6 < page.stat().st_size < 0.4e6
    assert data["size"][0] == 48  # 3 mm apart: the coarse axis stays whole
    assert data["size"][1] < 96
    assert data["overlay"]["table"][255] == 1.0  # the voxel's heat is not averaged away
    lengths = np.array(data["size"]) * data["spacing"]
    assert lengths == pytest.approx([144, 96, 96])
    assert any("coarser than the file" in fact for fact in data["facts"])
    whole = write_viewer(view, tmp_path / "w.html")
    assert stored(whole)["size"] == [48, 96, 96]
    assert not any("coarser" in fact for fact in stored(whole)["facts"])


def test_a_curve_follows_its_axis(tmp_path):
    scan, heat = oriented((2, 1, 0), (False, False, False))
    view = view_of(scan, heat)
    data = stored(write_viewer(view, tmp_path / "v.html", curve=slice_curve(view)))
    assert data["curve"]["axis"] == 0
    # stored upward, shown downward
    assert data["curve"]["values"] == pytest.approx(heat.max((1, 2))[::-1].tolist(), rel=1e-4)
    with pytest.raises(Pseudo3dError, match="curve of 3 values"):
        write_viewer(
            view, tmp_path / "x.html", curve=SliceCurve(values=np.zeros(3), what="probability")
        )


def test_ct_windows_are_offered_for_ct_only(tmp_path):
    names = [
        [name for name, _ in stored(write_viewer(view_of(scan), tmp_path / "v.html"))["presets"]]
        for scan in (oriented(units="HU")[0], oriented()[0])
    ]
    assert "lung" in names[0]
    assert names[1] == ["as opened", "whole range"]


@pytest.mark.parametrize("options", [{"megabytes": 0.1}, {"opacity": 1.5}])
def test_options_that_make_no_page_are_refused(options):
    with pytest.raises(Pseudo3dError, match="wanted"):
        ViewerOptions(**options)


def test_a_place_outside_the_scan_is_refused(tmp_path):
    with pytest.raises(Pseudo3dError, match="outside"):
        write_viewer(
            view_of(oriented()[0]), tmp_path / "v.html", options=ViewerOptions(at=(0, 0, 99))
        )


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Run headless Chromium on a page; gives its final document or a picture."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def run(address, *options):
        command = [
            program, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
            "--window-size=1200,900", "--virtual-time-budget=4000",
            f"--user-data-dir={tmp_path_factory.mktemp('browser')}", *options, address,
        ]  # fmt: skip
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=120, check=True
        )
        return done.stdout

    return run


def acted(page, browser):
    """What the page says at each step of `reader.js`, and the document as it ends."""
    copy = page.with_name("acted.html")
    script = Path(__file__).with_name("reader.js").read_text("utf-8")
    text = page.read_text("utf-8").replace("</body>", f"<script>{script}</script></body>")
    # --dump-dom draws no frames
    frames = "<script>window.requestAnimationFrame = (f) => setTimeout(f, 5)</script>"
    text = text.replace("<head>", f"<head>{frames}")
    copy.write_text(text, encoding="utf-8")
    dom = browser(copy.as_uri(), "--dump-dom")
    return json.loads(html.unescape(re.search(r'<pre id="notes">(.*?)</pre>', dom, re.S)[1])), dom


def test_a_reader_finds_slice_label_and_position(browser, tmp_path):
    scan, heat = oriented((1, 2, 0), (True, False, True))  # stored anyhow
    view = view_of(scan, heat, window=(0.0, 400.0))
    page = write_viewer(view, tmp_path / "v.html", finding=FOUND, curve=slice_curve(view))
    notes, dom = acted(page, browser)
    hot = np.unravel_index(heat.argmax(), heat.shape)

    def at(name):  # voxel (x, y, z) in RAS+ order, from what the page says in mm
        mm = [float(v) for v in notes[name]["mm"].split(",")]
        voxel = tuple(int(v) for v in notes[name]["voxel"].split(","))
        assert mm == pytest.approx(view.world(voxel))
        value = float(view.image[voxel])
        if name not in ("start", "hot"):
            assert float(notes[name]["value"]) == pytest.approx(value, abs=3)
        return [round((m - o) / s) for m, o, s in zip(mm, (-10, -8, 5), (1, 2, 4), strict=True)]

    assert ">ill</b> 93.4 %" in dom
    assert "made.nii" in dom
    assert notes["start"]["voxel"] == ",".join(map(str, hot))
    assert "R 10.0  A 6.0  S 17.0 mm" in notes["start"]["text"]
    assert at("start") == [20, 7, 3]
    assert at("wheel") == [20, 7, 2]  # the next axial slice is below
    assert at("arrow") == [20, 6, 2]  # the next coronal slice is behind
    assert at("click") == [20, 0, 0]  # sagittal: far right is the back, low is down
    assert at("slider") == [20, 9, 0]
    assert notes["preset"]["window"] == "0,413"
    assert at("hot") == [20, 7, 3]
    assert notes["hidden"]
    assert notes["hash"]["voxel"] == "1,2,3"
    h = int(notes["start"]["voxel"].split(",")[2])  # the stored axis that runs to the right
    assert notes["start"]["names"][2] == f"sagittalw = {h} of 0 to 23"


def test_slices_without_a_value_are_gaps_of_the_curve(browser, tmp_path):
    view = view_of(oriented()[0])
    values = np.full(24, np.nan)
    values[[3, 4, 5, 20]] = 0.5, 0.2, 0.7, 0.4
    page = write_viewer(
        view, tmp_path / "v.html", curve=SliceCurve(values=values, what="ill", axis=2)
    )
    dom = browser(page.as_uri(), "--dump-dom")
    drawn = [
        {int(float(point.split(",")[0])) for point in line.split()}
        for line in re.findall(r'<polyline points="([^"]*)"', dom)
    ]
    assert drawn == [{3}, {18, 19, 20}]  # the page goes from right to left


def test_the_picture_shows_the_heat_where_it_is(browser, tmp_path):
    scan, heat = oriented((0, 2, 1), (False, True, True))
    view = view_of(scan, heat, window=(1e5, 2e5))  # black scan
    options = ViewerOptions(opacity=1.0)
    page = write_viewer(view, tmp_path / "v.html", options=options)
    boxes = acted(page, browser)[0]["boxes"]
    browser(page.as_uri(), f"--screenshot={tmp_path / 's.png'}")
    with Image.open(tmp_path / "s.png") as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    # middle of the hot voxel in each plane, as shares of its width and height
    spots = [(3.5 / 24, 2.5 / 10), (3.5 / 24, 0.5 / 4), (2.5 / 10, 0.5 / 4)]
    for (left, top, width, height), (x, y) in zip(boxes, spots, strict=True):
        pane = pixels[round(top) : round(top + height), round(left) : round(left + width)]
        yellow = (pane[..., 0] > 235) & (pane[..., 1] > 220) & (pane[..., 2] < 190)
        rows, columns = np.nonzero(yellow)
        assert len(rows) > 50
        assert columns.mean() / width == pytest.approx(x, abs=0.03)
        assert rows.mean() / height == pytest.approx(y, abs=0.06)
    proportion = [width / height for _, _, width, height in boxes]
    assert proportion == pytest.approx([24 / 20, 24 / 16, 20 / 16], rel=0.03)
