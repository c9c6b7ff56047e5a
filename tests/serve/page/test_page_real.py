"""The page against the service itself: a real upload, a real explanation, a real camera."""

import json

import pytest

from serve.page.conftest import tab_in
from serve.page.test_page_look import faults

serving = pytest.importorskip("serve.serving", reason="the extra `serve` is not installed")


@pytest.fixture
def real(browser, running):
    with tab_in(browser, None, viewport={"width": 1200, "height": 900}) as tab:
        tab.open(url=running.url + "/")
        yield tab


def test_the_page_shows_what_the_service_says(real, running, films):
    page = real.shown(films[3])
    said = running.post(films[3]).json()
    assert page.inner_text("#found") == f"{said['label']} {100 * said['score']:.1f} %"
    assert f"{len(said['timeline'])} windows" in page.inner_text("#about")
    lines = page.locator("#bars li").all_inner_texts()
    assert [line.split("\n")[0] for line in lines] == [row["label"] for row in said["top"]]
    with page.expect_download() as saved:
        page.click("#save-json")
    assert (
        json.loads(saved.value.path().read_text(encoding="utf-8"))["timeline"] == said["timeline"]
    )
    box = page.locator("#track").bounding_box()
    page.click("#track", position={"x": box["width"] / 2, "y": 5})
    real.at(3.0)
    page.click("#explain")
    page.wait_for_selector("#heat-label:not([hidden]), #file-error .error")
    assert page.inner_text("#file-error") == ""
    real.until("Number(document.getElementById('overlay').dataset.map) >= 0")
    assert "What spoke for" in page.inner_text("#explained")
    assert faults(page) == []
    serving.until(running.empty)


def test_what_the_service_refuses_is_said(real, running, shared_data, tmp_path):
    page = real.page
    real.send(shared_data / "videos" / "odd" / "text.mp4")
    page.wait_for_selector("#file-error .error[data-code=unreadable]")
    assert "text.mp4" in page.inner_text("#file-error")
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(2_000_001))
    real.send(large)
    page.wait_for_selector("#file-error .error[data-code=too_large]")
    serving.until(running.empty)


def test_the_service_itself_refuses_what_is_too_large(browser, running, tmp_path):
    large = tmp_path / "large.mp4"
    large.write_bytes(bytes(4_000_000))
    with tab_in(browser, None) as tab:

        def lie(route):  # a page that does not know the limit
            card = route.fetch().json()
            del card["limits"]
            route.fulfill(json=card)

        tab.page.route("**/model", lie)
        page = tab.open(url=running.url + "/")
        tab.send(large)
        page.wait_for_selector("#file-error .error[data-code=too_large]")
    serving.until(running.empty)


def test_the_camera_gets_decisions(real, running):
    page = real.page
    page.click("#tab-camera")
    page.click("#camera-start")
    real.until("document.querySelectorAll('#live-bars li').length === 4")
    assert "in the service" in page.inner_text("#live-stats")
    page.click("#camera-start")
    serving.until(lambda: running.service.cameras.connected == 0)


def test_leaving_in_the_middle_ends_the_work(browser, running, films):
    with tab_in(browser, None) as tab:
        tab.open(url=running.url + "/")
        tab.send(*films)
        tab.page.close()
    serving.until(running.empty)


def test_a_page_of_a_guarded_service_opened_before_it_is_ready(browser, weights, films):
    from pseudo3d.serve.settings import Settings

    settings = Settings(weights=weights, port=0, token="open sesame", idle=5.0)
    with (
        serving.serving(settings, wait=False, token="open sesame") as running,
        tab_in(browser, None) as tab,
    ):
        page = tab.open(url=running.url + "/")
        page.wait_for_selector("#token-box[open]")
        page.fill("#token", "open the door")
        page.click("text=Use it")
        tab.send(films[0])
        page.wait_for_selector("#token-box[open]")
        page.fill("#token", "open sesame")
        page.click("text=Use it")
        page.wait_for_selector("#result:not([hidden])")
        page.click("#tab-camera")
        page.click("#camera-start")
        tab.until("document.querySelectorAll('#live-bars li').length === 4")
