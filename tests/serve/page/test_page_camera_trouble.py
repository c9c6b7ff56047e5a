"""The camera tab when connection, service or camera fail."""

import pytest

from serve.page.stream import Stream, start


@pytest.fixture
def stream(tab):
    return Stream(tab.page)


def test_a_broken_connection_comes_back_by_itself(tab, stream):
    page = start(tab)
    page.get_by_text("waving 90.0 %").first.wait_for()
    stream.live.close(code=1011)
    page.get_by_text("The connection is lost; trying again in 1 s").wait_for()
    stream.label = ("clapping", 0.7)
    page.get_by_text("clapping 70.0 %").first.wait_for()
    assert stream.opened == 2


def test_a_service_that_stays_away_is_given_up(tab, stream):
    tab.page.add_init_script("const wait = setTimeout; setTimeout = (f, t) => wait(f, t / 100)")
    stream.dead = True
    page = start(tab)
    page.get_by_text("The connection to the service broke off and did not come back.").wait_for()
    assert stream.opened == 6
    assert page.inner_text("#camera-start") == "Start the camera"
    stream.dead = False
    page.click("text=Try again")
    page.get_by_text("waving 90.0 %").first.wait_for()


def test_a_refusal_ends_the_camera_and_is_said(tab, stream):
    titles = {
        "too_large": "Too large",
        "unreadable": "This file cannot be read",
        "timeout": "It took too long",
        "bad_request": "The service did not understand",
        "internal": "The service failed",
    }
    page = tab.open()
    page.click("#tab-camera")
    for code, title in titles.items():
        stream.reply = {"error": {"code": code, "message": "a frame was no picture"}}
        page.click("#camera-start")
        box = page.locator(f"#camera-error .error[data-code={code}]")
        box.wait_for()
        assert box.locator("h3").inner_text() == title
        assert page.evaluate("document.getElementById('camera').srcObject === null")


def test_a_full_service_is_asked_again(tab, stream):
    stream.reply = {"error": {"code": "busy", "message": "8 cameras are connected"}}
    page = start(tab)
    page.get_by_text("8 cameras are connected; trying again in 1 s").wait_for()
    stream.reply = None
    page.get_by_text("waving 90.0 %").first.wait_for()


def test_the_token_goes_in_the_first_message(tab, stream):
    tab.service.card["token_required"] = True
    stream.reply = {"error": {"code": "unauthorized", "message": "this service wants its token"}}
    page = tab.open()
    page.click("#token-cancel")
    page.click("#tab-camera")
    page.click("#camera-start")
    page.click("text=Enter a token")
    page.fill("#token", "open sesame")
    stream.reply = None
    page.keyboard.press("Enter")
    page.get_by_text("waving 90.0 %").first.wait_for()
    assert stream.first == [{"top": 5}, {"top": 5, "token": "open sesame"}]


GATED = """(() => {
  const media = navigator.mediaDevices, real = media.getUserMedia.bind(media);
  window.gates = [];
  window.tracks = [];
  media.getUserMedia = async (wanted) => {
    await new Promise((open) => gates.push(open));
    const given = await real(wanted);
    tracks.push(...given.getTracks());
    return given;
  };
})()"""  # the browser asks the user, for as long as a test likes
LIVE = "tracks.filter((track) => track.readyState === 'live').length"


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_camera_that_is_given_too_late_is_let_go(tab, stream, order):
    """Start, stop, start while the browser asks: one camera is on, and Stop ends it."""
    tab.page.add_init_script(GATED)
    page = start(tab)
    tab.until("gates.length === 1")
    page.click("#camera-start")
    assert page.inner_text("#camera-start") == "Start the camera"
    page.click("#camera-start")
    tab.until("gates.length === 2")
    for count, gate in enumerate(order, start=1):
        page.evaluate(f"gates[{gate}]()")
        tab.until(f"tracks.length === {count}")
    page.get_by_text("waving 90.0 %").first.wait_for()
    tab.until(f"{LIVE} === 1")
    assert stream.opened == 1
    page.click("#camera-start")
    tab.until(f"{LIVE} === 0")
    assert page.is_hidden("#live")


def test_a_camera_that_is_given_after_stop_is_let_go(tab, stream):
    tab.page.add_init_script(GATED)
    page = start(tab)
    tab.until("gates.length === 1")
    page.click("#camera-start")
    page.evaluate("gates[0]()")
    tab.until(f"tracks.length === 1 && {LIVE} === 0")
    assert page.inner_text("#camera-start") == "Start the camera"
    assert page.is_hidden("#live")
    assert stream.opened == 0


def test_changing_the_camera_again_and_again_leaves_one_on(tab, stream):
    page = start(tab)
    page.get_by_text("waving 90.0 %").first.wait_for()
    page.evaluate(GATED)
    for count in (1, 2, 3):
        page.evaluate("document.getElementById('camera-which').dispatchEvent(new Event('change'))")
        tab.until(f"gates.length === {count}")
    page.evaluate("gates.forEach((open) => open())")
    tab.until(f"tracks.length === 3 && {LIVE} === 1")
    tab.until("document.getElementById('camera').srcObject?.active")
    page.click("#camera-start")
    tab.until(f"{LIVE} === 0")


def test_without_a_camera_the_page_says_what_to_do(tab):
    words = {
        "NotAllowedError": "The browser was told not to give the camera",
        "NotFoundError": "No camera was found",
        "NotReadableError": "Another program may be using the camera",
        "SomethingNew": "The camera cannot be opened: no",
    }
    page = tab.open()
    page.click("#tab-camera")
    for name, said in words.items():
        page.evaluate(
            "(name) => { MediaDevices.prototype.getUserMedia ="
            " () => Promise.reject(new DOMException('no', name)); }",
            name,
        )
        page.click("#camera-start")
        page.get_by_text(said).wait_for()
        assert page.locator("#camera-error .error").get_attribute("data-code") == "camera"


def test_a_page_that_is_not_local_says_why_there_is_no_camera(tab):
    tab.page.add_init_script(
        "Object.defineProperty(Navigator.prototype, 'mediaDevices', { get: () => undefined })"
    )
    page = start(tab)
    page.get_by_text("open the page as http://localhost").wait_for()
