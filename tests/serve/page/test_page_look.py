"""For everybody: screen readers, keyboard, light and dark, phones; and the model's card."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from serve.page.conftest import tab_in
from serve.page.service import Service, refusal

GRAVE = {"serious", "critical"}


def faults(page):
    """What axe finds, grave or not so grave, as sentences."""
    where = find_spec("axe_playwright_python")
    if where is None:
        pytest.skip("axe is missing: extra `browser`")
    (home,) = where.submodule_search_locations
    page.evaluate((Path(home) / "axe.min.js").read_text("utf-8"))  # the package goes by the locale
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{one['impact']}: {one['id']}: {node['html'][:150]} {node['failureSummary'][:200]}"
        for one in found
        for node in one["nodes"]
        if one["impact"] in GRAVE
    ]


def wide(page):
    """By how many pixels the page is broader than the window."""
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


@pytest.fixture(params=["light", "dark"])
def scheme(request):
    return request.param


def test_every_state_is_accessible(browser, film, scheme):
    service = Service()
    size = {"width": 1200, "height": 900}
    with tab_in(browser, service, color_scheme=scheme, viewport=size) as tab:
        page = tab.open()
        assert faults(page) == []
        tab.shown(film)
        page.click("#explain")
        page.wait_for_selector("#overlay[data-map]")
        page.click("#table-box summary")
        assert faults(page) == []
        service.predict = lambda query: refusal(401, "unauthorized", "token")
        tab.send(film)
        page.wait_for_selector("#token-box[open]")
        assert faults(page) == []
        page.click("#token-cancel")
        assert faults(page) == []
        page.click("#tab-card")
        assert faults(page) == []
        page.click("#tab-camera")
        assert faults(page) == []


def test_a_phone_shows_all_of_it_without_scrolling_sideways(browser, film):
    with tab_in(browser, Service(), viewport={"width": 320, "height": 640}, has_touch=True) as tab:
        page = tab.open()
        assert wide(page) == 0
        tab.shown(film)
        page.click("#explain")
        page.wait_for_selector("#overlay[data-map]")
        page.click("#table-box summary")
        assert wide(page) == 0
        assert faults(page) == []
        assert page.locator("#choose").bounding_box()["height"] >= 44  # a finger's width
        box = page.locator("#track").bounding_box()
        page.tap("#track", position={"x": box["width"] / 2, "y": box["height"] / 2})
        tab.at(2.0)
        page.click("#tab-card")
        assert wide(page) == 0


def test_light_or_dark_follows_the_system_until_it_is_chosen(browser):
    with tab_in(browser, Service(), color_scheme="dark") as tab:
        page = tab.open()
        back = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(back) == "rgb(22, 24, 27)"
        page.emulate_media(color_scheme="light")
        assert page.evaluate(back) == "rgb(255, 255, 255)"
        page.click("text=Dark theme")
        assert page.evaluate(back) == "rgb(22, 24, 27)"
        page.reload()
        assert page.evaluate(back) == "rgb(22, 24, 27)"
        assert page.inner_text("#theme") == "Light theme"


def test_tabs_and_everything_else_can_be_reached_by_keys(tab, film):
    page = tab.open()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#tab-file")
    for key, name in [("ArrowRight", "camera"), ("End", "card"), ("ArrowRight", "file")]:
        page.keyboard.press(key)
        assert page.is_visible(f"#view-{name}")
        assert page.locator(f"#tab-{name}").get_attribute("aria-selected") == "true"
    with page.expect_file_chooser() as chooser:
        page.focus("#choose")
        page.keyboard.press("Enter")
    chooser.value.set_files(str(film))
    page.wait_for_selector("#result:not([hidden])")
    tab.until("document.activeElement.id === 'found'")  # the answer is read out
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"track", "play", "speed", "full", "explain", "save-json", "save-csv"} <= reached


def test_the_card_tells_what_the_network_is(tab):
    tab.service.card |= {
        "preprocessing": {"frames": 16, "mean": [0.4, 0.4, 0.4], "fps": None},
        "notes": ["trained on drawn people"],
    }
    page = tab.open()
    page.click("#tab-card")
    text = page.inner_text("#card").replace("\n", " ")
    for words in (
        "video hit@1 91.3 %", "seeds 3", "clip: hit@1 87.0 %", "held-out people, 1 view",
        "16", "64 x 64 pixels (height x width)", "2 s", "upload bytes 2 MB", "5 classes",
        "mean 0.4, 0.4, 0.4", "fps none", "trained on drawn people", "<b>bowing</b>",
    ):  # fmt: skip
        assert words in text, words
    assert "Research use only" in page.inner_text("footer")


def test_many_classes_can_be_searched(tab):
    tab.service.card["classes"] = [f"action {i}" for i in range(400)]
    page = tab.open()
    page.click("#tab-card")
    page.fill("#card input[type=search]", "ACTION 39")
    assert page.locator(".names li:visible").count() == 11
    assert page.inner_text("#card [role=status]") == "11 of 400"


def test_a_card_without_scores_says_so(tab):
    tab.service.card |= {"scores": {}, "protocol": ""}
    page = tab.open()
    page.click("#tab-card")
    assert "No scores are stored" in page.inner_text("#card")
    assert "do not compare" in page.inner_text("#card")
