"""What the page says when the service refuses, and the way on."""

import pytest

from serve.page.service import answer, explained, refusal

CODES = {  # code: status, title, button
    "too_large": (413, "Too large", None),
    "unreadable": (422, "This file cannot be read", None),
    "busy": (429, "The service is busy", "Try again"),
    "not_ready": (503, "The network is not ready", "Try again"),
    "timeout": (504, "It took too long", "Try again"),
    "unauthorized": (401, "A token is needed", "Enter a token"),
    "bad_request": (400, "The service did not understand", None),
    "internal": (500, "The service failed", "Try again"),
}


@pytest.mark.parametrize("code", CODES)
def test_each_refusal_has_a_title_the_sentence_and_a_way_on(tab, film, code):
    status, title, button = CODES[code]
    said = refusal(status, code, "the reason <i>, and the way out")
    tab.service.predict = lambda query: said
    if code == "busy":  # six tries are not waited for here
        tab.page.add_init_script("const wait = setTimeout; setTimeout = (f, t) => wait(f, t / 500)")
    page = tab.open()
    tab.send(film)
    box = page.locator(f"#file-error .error[data-code={code}]")
    box.wait_for()
    assert box.locator("h3").inner_text() == title
    assert box.locator("p").first.inner_text() == "The reason <i>, and the way out."
    assert box.locator("button").all_inner_texts() == ([button] if button else [])
    assert page.is_hidden("#progress")
    assert page.is_hidden("#result")
    assert tab.service.times("/predict") == (6 if code == "busy" else 1)
    if code == "unauthorized":
        assert page.is_visible("#token-box")
    elif button:
        tab.service.predict = lambda query: (200, answer(), {})
        box.locator("button").click()
        page.wait_for_selector("#result:not([hidden])")
        assert not page.locator("#file-error .error").count()


def test_a_busy_service_is_asked_again_when_it_said_so(tab, film):
    waits = ["1", None]
    tab.service.predict = lambda query: (
        refusal(429, "busy", "full", **{"Retry-After": waits.pop(0)})
        if waits[0]
        else (200, answer(), {})
    )
    page = tab.open()
    tab.send(film)
    page.get_by_text("The service is busy; film.mp4 will be sent again").wait_for()
    assert page.inner_text("#progress-share") == "in 1 s"
    page.wait_for_selector("#result:not([hidden])")
    assert tab.service.times("/predict") == 2


@pytest.mark.parametrize("body", ["<html>", '{"label": "x"}'])
def test_an_answer_that_is_none_is_said_to_be_none(tab, film, body):
    tab.service.predict = lambda query: (200, body, {})
    page = tab.open()
    tab.send(film)
    page.wait_for_selector("#file-error .error[data-code=damaged]")


def test_heat_of_the_wrong_size_is_not_drawn(tab, film):
    heat = {"times": [0.0, 1.0], "rows": 4, "cols": 4, "values": "AAAA"}
    tab.service.predict = lambda query: (200, answer() | {"heat": heat}, {})
    page = tab.open()
    tab.shown(film)
    page.get_by_text("3 heat values came where 2 x 4 x 4 were said.").wait_for()
    assert page.inner_text("#found") == "waving 62.0 %"


def explained_too_late(tab, film):
    """A page with an answer, whose explanation took too long."""
    tab.service.predict = lambda query: (
        refusal(504, "timeout", "too long") if query["explain"] == "true" else (200, answer(), {})
    )
    page = tab.open()
    tab.shown(film)
    page.click("#explain")
    page.wait_for_selector("#file-error .error[data-code=timeout]")
    return page


def test_an_explanation_that_fails_leaves_the_answer(tab, film):
    page = explained_too_late(tab, film)
    assert page.inner_text("#found") == "waving 62.0 %"
    assert page.is_enabled("#explain")
    tab.service.predict = lambda query: (200, answer(), {})
    page.click("text=Try again")
    page.get_by_text("The service cannot tell for this network.").wait_for()


def test_what_went_wrong_with_one_files_explanation_stays_with_that_file(tab, film, tmp_path):
    other = tmp_path / "other.mp4"
    other.write_bytes(film.read_bytes())
    page = explained_too_late(tab, film)
    tab.shown(other)
    assert not page.locator("#file-error .error").count()
    page.click("#jobs button >> nth=0")
    page.wait_for_selector("body[data-shown='film.mp4']")
    page.wait_for_selector("#file-error .error[data-code=timeout]")
    page.evaluate(
        """() => {
          const real = FormData.prototype.append;
          window.sent = [];
          FormData.prototype.append = function (...what) {
            sent.push(what[2]);
            real.apply(this, what);
          };
        }"""
    )
    tab.service.predict = lambda query: (200, explained(), {})
    page.click("text=Try again")
    page.wait_for_selector("#heat-label:not([hidden])")
    assert page.evaluate("window.sent") == ["film.mp4"]
    assert not page.locator("#file-error .error").count()
    assert tab.service.asked[-1][1]["explain"] == "true"


def test_a_damaged_end_is_told(tab, film):
    told = "the video ends after 2.1 s of 4.0 s"
    tab.service.predict = lambda query: (200, answer() | {"problem": told}, {})
    tab.open()
    assert told in tab.shown(film).inner_text("#problem")
