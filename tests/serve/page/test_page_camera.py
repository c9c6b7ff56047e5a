"""The camera tab: frames go out with their times, labels come back."""

import io

import pytest
from PIL import Image

from serve.page.stream import Stream, start


@pytest.fixture
def stream(tab):
    return Stream(tab.page)


def test_frames_go_out_and_labels_come_back(tab, stream):
    stream.mute = True
    page = start(tab)
    page.get_by_text("looking; the first answer comes after about 2 s").wait_for()
    stream.mute = False
    page.get_by_text("waving 90.0 %").first.wait_for()
    tab.until("document.getElementById('live-said').textContent === 'waving'")
    assert stream.first == [{"top": 5}]
    times = [time for time, _ in stream.frames]
    assert times == sorted(times)
    assert 0.5 < times[-1] - times[0] < 10  # seconds, not ms
    picture = Image.open(io.BytesIO(stream.frames[-1][1]))
    assert picture.format == "JPEG"
    assert min(picture.size) == 80  # the network takes 64, and a quarter more is sent
    assert page.locator("#live-bars li").count() == 5
    assert page.locator("#live-track").get_attribute("aria-label") == (
        "Labels of the last 30 seconds: waving"
    )
    stats = page.inner_text("#live-stats")
    assert "12 ms of them in the service, 2 left out" in stats
    assert "ms after the picture" in stats
    stream.label = ("clapping", 0.2)
    page.get_by_text("not sure clapping 20.0 %").wait_for()
    stream.label = ("sitting down", 0.8)
    tab.until("document.getElementById('live-said').textContent === 'sitting down'")
    titles = page.locator("#live-track .band").evaluate_all("all => all.map((b) => b.title)")
    assert [title.split(" ")[0] for title in titles] == ["waving", "not", "sitting"]


def test_stopping_and_leaving_let_the_camera_go(tab, stream):
    tab.page.add_init_script(
        "const real = MediaDevices.prototype.getUserMedia;"
        "MediaDevices.prototype.getUserMedia = async function (...how) {"
        " const media = await real.apply(this, how);"
        " window.track = media.getVideoTracks()[0]; return media; }"
    )
    page = start(tab)
    page.get_by_text("waving 90.0 %").first.wait_for()
    off = "!document.getElementById('camera').srcObject && window.track.readyState === 'ended'"
    page.click("#camera-start")
    assert page.evaluate(off)
    assert page.inner_text("#camera-start") == "Start the camera"
    page.click("#camera-start")
    tab.until("document.getElementById('camera').srcObject?.active === true")
    page.click("#tab-card")
    assert page.evaluate(off)
    count = len(stream.frames)
    page.wait_for_timeout(300)
    assert len(stream.frames) == count


def test_the_picture_is_mirrored_for_the_person_only(tab, stream):
    page = start(tab)
    page.get_by_text("waving 90.0 %").first.wait_for()
    assert "mirrored" in page.get_attribute("#camera", "class")
    page.uncheck("#mirror")
    assert "mirrored" not in (page.get_attribute("#camera", "class") or "")
