"""A network that takes scans: no camera, and the viewer runs apart from the service."""

import pytest

from pseudo3d.report.slices import slice_curve
from pseudo3d.report.view import RESEARCH, view_of
from pseudo3d.report.viewer import Finding, write_viewer
from report.scans import oriented
from serve.page.service import CARD, top_of
from serve.page.test_page_look import faults


def found(viewer):
    return {
        "source": "scan.nii.gz", "kind": "scan", "label": "waving", "score": 0.93,
        "top": top_of("waving", 0.93), "curve": [0.1, 0.2, 0.9, 0.3], "viewer": viewer,
    }  # fmt: skip


@pytest.fixture(scope="session")
def viewer(tmp_path_factory):
    """The viewer of a made scan, as the service sends it."""
    scan, heat = oriented()
    view = view_of(scan, heat)
    curve = slice_curve(view)
    path = tmp_path_factory.mktemp("viewer") / "v.html"
    write_viewer(view, path, finding=Finding(label="ill", prob=0.93), curve=curve)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def scan(tmp_path):
    path = tmp_path / "scan.nii.gz"
    path.write_bytes(b"the service reads it, not the page")
    return path


@pytest.fixture
def page(tab):
    tab.service.card = CARD | {"input": "scan", "seconds": None, "frames": None, "size": [8, 9, 9]}
    return tab.open()


def test_the_page_of_a_scan_network(page):
    assert page.inner_text("#tab-file") == "Scan"
    assert page.is_hidden("#tab-camera")
    assert page.inner_text("#drop-what") == "Drop a scan here"
    assert page.inner_text("#banner") == RESEARCH
    page.click("#tab-card")
    assert "8 x 9 x 9 voxels" in page.inner_text("#card")


def test_the_viewer_runs_in_a_sandbox_of_its_own(tab, page, scan, viewer):
    tab.service.predict = lambda query: (200, found(viewer), {})
    tab.shown(scan)
    assert page.inner_text("#found") == "waving 93.0 %"
    assert page.get_attribute("#viewer", "sandbox") == "allow-scripts"  # and the policy's own
    frame = page.frame_locator("#viewer")
    frame.locator("body[data-ready=yes]").wait_for()
    assert frame.locator("canvas").count() == 3
    assert page.is_hidden("#player")
    assert page.is_hidden("#slices")  # the viewer has the curve
    inside = page.frames[1]
    reach = "fetch('http://localhost:8123/health').then(() => 'reached', () => 'refused')"
    count = len(tab.service.asked)
    assert inside.evaluate(reach) == "refused"
    assert inside.evaluate("try { parent.sessionStorage.length } catch { 'refused' }") == "refused"
    assert len(tab.service.asked) == count
    tab.faults.clear()  # the refusal just provoked
    assert faults(page) == []
    with page.expect_download() as saved:
        page.click("#save-viewer")
    assert saved.value.suggested_filename.endswith(".html")
    assert saved.value.path().read_text(encoding="utf-8") == viewer


def test_without_a_viewer_the_curve_is_shown(tab, page, scan):
    tab.service.predict = lambda query: (200, found(None), {})
    tab.shown(scan)
    assert page.is_hidden("#viewer")
    text = page.locator("#slices svg").get_attribute("aria-label")
    assert text == "What each of 4 slices said for waving, most slice 3"
    assert page.locator("#bars li").count() == 5
    assert page.is_hidden("#save-csv")


def test_a_measured_value_has_no_probability(tab, page, scan):
    value = {
        "label": "54.2", "score": None, "top": [], "spacing_mm": [3.0, 0.5, 0.5],
        "orientation": "LPS", "volume_ml": {"lesion": 3.25}, "notes": ["oblique by 12 degrees"],
    }  # fmt: skip
    tab.service.predict = lambda query: (200, found(None) | value, {})
    tab.shown(scan)
    assert page.inner_text("#found").strip() == "54.2"
    assert page.inner_text("#about") == "scan.nii.gz · 3 x 0.5 x 0.5 mm · LPS · lesion 3.25 ml"
    assert page.inner_text("#problem") == "oblique by 12 degrees"
    assert page.locator("#bars li").count() == 0
