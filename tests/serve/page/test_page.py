"""The page with the answer to a video: labels over time, seeking, bars, heat, keys, saving."""

import csv
import io
import json

import pytest

from serve.page.service import CLASSES, answer, explained

TRACK = "#track"


def now(page):
    return page.evaluate("document.getElementById('video').currentTime")


def seek(tab, t):
    """Click on the timeline where a time is, of 4 s."""
    box = tab.page.locator(TRACK).bounding_box()
    tab.page.click(TRACK, position={"x": box["width"] * t / 4, "y": box["height"] / 2})
    tab.at(t)


def bands(page, track="#track"):
    return page.locator(f"{track} .band").evaluate_all(
        "all => all.map((b) => [b.title, b.style.left, b.style.width, b.innerText])"
    )


def pixels(page, x, y):
    """Alpha of the overlay at a place of the picture, as fractions."""
    return page.evaluate(
        """([x, y]) => {
          const c = document.getElementById("overlay"), v = document.getElementById("video");
          const s = Math.min(c.width / v.videoWidth, c.height / v.videoHeight);
          const left = (c.width - s * v.videoWidth) / 2, top = (c.height - s * v.videoHeight) / 2;
          const at = [left + x * s * v.videoWidth, top + y * s * v.videoHeight].map(Math.round);
          const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          copy.drawImage(c, -at[0], -at[1]);
          return copy.getImageData(0, 0, 1, 1).data[3];
        }""",
        [x, y],
    )


def test_an_upload_becomes_a_label_a_timeline_and_bars(tab, film):
    page = tab.open()
    assert "p3d_tiny" in page.title()
    tab.shown(film)
    assert page.inner_text("#found") == "waving 62.0 %"
    assert "film.mp4 · 4.0 s · 25 frames/s · 160 x 120 pixels · 7 windows" in page.inner_text(
        "#about"
    )
    shown = bands(page)
    assert [band[0] for band in shown] == [
        "waving 90.0 %",
        "not sure: clapping 31.0 %",
        "sitting down 80.0 %",
    ]
    assert [band[1] for band in shown] == ["0%", "43.75%", "56.25%"]  # halfway between windows
    assert [band[3] for band in shown] == ["waving", "", "sitting down"]
    assert [band[1] for band in bands(page, "#segments")] == ["5%", "60%"]
    lines = page.locator("#bars li").all_inner_texts()
    assert lines[0].split("\n") == ["waving", "62.0 %"]
    assert "<b>bowing</b>" in lines[4]  # a label is text, whatever it holds
    widths = page.locator("#bars i").evaluate_all("all => all.map((i) => i.style.width)")
    assert widths[:2] == ["62%", "9.5%"]
    assert tab.service.asked[-1] == (
        "/predict",
        {"top": "5", "explain": "false", "segments": "true"},
    )


def test_a_click_on_the_timeline_seeks_and_tells_what_is_there(tab, film):
    tab.open()
    page = tab.shown(film)
    seek(tab, 3.0)
    assert page.inner_text("#now") == "3.0 s: sitting down 80.0 %"
    track = page.locator(TRACK)
    assert track.get_attribute("aria-valuetext") == "3.0 s of 4.0 s, sitting down 80.0 %"
    assert float(track.get_attribute("aria-valuenow")) == pytest.approx(3.0, abs=0.05)
    assert page.inner_text("#bars li >> nth=0").startswith("waving")  # of the whole video still
    page.check("input[value=now]", force=True)
    assert page.inner_text("#bars li >> nth=0").split("\n") == ["sitting down", "80.0 %"]
    seek(tab, 2.0)
    assert page.inner_text("#bars li >> nth=0").split("\n") == ["clapping", "31.0 %"]
    page.check("input[value=whole]", force=True)
    assert page.inner_text("#bars li >> nth=0").split("\n") == ["waving", "62.0 %"]


def test_dragging_goes_along(tab, film):
    tab.open()
    page = tab.shown(film)
    box = page.locator("#lanes").bounding_box()
    y = box["y"] + 30
    page.mouse.move(box["x"] + 5, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=4)
    page.mouse.move(box["x"] + 2 * box["width"], y)  # past the end: the last frame
    page.mouse.up()
    tab.until("document.getElementById('video').currentTime > 3.9")
    page.mouse.move(box["x"] + 5, y)  # let go: nothing follows
    assert now(page) > 3.9


def test_the_keyboard_is_enough(tab, film):
    tab.open()
    page = tab.shown(film)
    page.focus(TRACK)
    for key, t in [
        ("ArrowRight", 0.1), ("PageUp", 1.1), ("ArrowLeft", 1.0), ("]", 1.75), ("]", 2.25),
        ("[", 1.75), ("[", 0.0), ("End", 4.0), ("Home", 0.0), (".", 0.04), (",", 0.0),
    ]:  # fmt: skip
        page.keyboard.press(key)
        tab.at(t, 0.011)
    page.keyboard.press(" ")
    # that it plays is ours; how soon a busy machine shows the next frame is the browser's
    tab.until("!document.getElementById('video').paused")
    tab.until("document.getElementById('play').textContent === 'Pause'")
    page.keyboard.press(" ")
    tab.until("document.getElementById('video').paused")
    before = now(page)
    page.focus("#save-json")  # outside the player its keys are silent
    page.keyboard.press("]")
    assert now(page) == before
    page.focus("#play")  # and a button keeps its own
    page.keyboard.press("Space")
    tab.until("!document.getElementById('video').paused")


def test_heat_lies_over_the_frame_it_belongs_to(tab, film):
    tab.open()
    page = tab.shown(film)
    assert page.is_hidden("#heat-label")
    page.click("#explain")
    page.wait_for_selector("#overlay[data-map='0']")
    assert page.is_hidden("#explain")
    assert "What spoke for waving, from 0.1 s to 1.9 s" in page.inner_text("#explained")
    assert "most at 1.1 s" in page.locator("#importance svg").get_attribute("aria-label")
    seek(tab, 1.125)
    page.wait_for_selector("#overlay[data-map='4']")
    hot, cold = pixels(page, 4.5 / 8, 1.5 / 4), pixels(page, 1.5 / 8, 3.5 / 4)
    assert 130 < hot <= 179  # 0.7 of 255, and the cells run into each other
    assert cold == 0
    page.fill("#opacity", "0.2")
    assert 30 < pixels(page, 4.5 / 8, 1.5 / 4) < 60
    page.focus("#opacity")
    page.keyboard.press("ArrowRight")  # a control's own key, not the player's
    assert page.input_value("#opacity") == "0.25"
    assert now(page) == pytest.approx(1.125, abs=0.05)
    page.uncheck("#heat")
    assert pixels(page, 4.5 / 8, 1.5 / 4) == 0
    page.check("#heat")
    seek(tab, 3.0)  # no map there: none is shown
    assert page.locator("#overlay").get_attribute("data-map") in (None, "-1")
    assert pixels(page, 7.5 / 8, 1.5 / 4) == 0
    page.focus(TRACK)
    page.keyboard.press("h")
    assert not page.is_checked("#heat")


def test_heat_of_a_crop_stays_inside_the_crop(tab, film):
    part = explained()
    part["heat"]["box"] = [0.25, 0.0, 0.5, 1.0]
    tab.service.predict = lambda query: (200, part, {})
    tab.open()
    page = tab.shown(film)
    seek(tab, 1.125)
    page.wait_for_selector("#overlay[data-map='4']")
    assert pixels(page, 0.25 + 4.5 / 16, 1.5 / 4) > 130
    assert pixels(page, 4.5 / 8 + 0.15, 1.5 / 4) == 0


def test_a_file_the_browser_cannot_play_keeps_its_timeline(tab, tmp_path):
    path = tmp_path / "film.avi"
    path.write_bytes(b"RIFF no browser plays this")
    page = tab.open()
    tab.shown(path)
    page.wait_for_selector("#unplayable:not([hidden])")
    assert page.is_hidden("#screen")
    page.focus(TRACK)
    page.keyboard.press("]")
    assert page.inner_text("#now") == "1.8 s: clapping 31.0 %, not sure"
    page.keyboard.press("End")
    assert "4.0 s of 4.0 s" in page.locator(TRACK).get_attribute("aria-valuetext")


def test_the_table_and_the_saved_files_hold_the_same(tab, film):
    tab.service.predict = lambda query: (
        200,
        answer() | {"segments": [{"start": 1.0, "end": 2.5, "label": '=a,"b"', "score": 0.7}]},
        {},
    )
    page = tab.open()
    tab.shown(film)
    page.click("#table-box summary")
    assert page.locator("#table tr").all_inner_texts() == ['1.0 s\t2.5 s\t=a,"b"\t70.0 %']
    page.click("#table button")
    tab.at(1.0)
    with page.expect_download() as saved:
        page.click("#save-csv")
    assert saved.value.suggested_filename == "film.csv"
    rows = list(csv.reader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
    # a leading "=" would be run by a spreadsheet
    assert rows == [
        ["start", "end", "label", "score"],
        ["1.000", "2.500", '\'=a,"b"', "0.700000"],
    ]
    with page.expect_download() as saved:
        page.click("#save-json")
    assert json.loads(saved.value.path().read_text(encoding="utf-8"))["label"] == "waving"


def test_a_long_video_can_be_looked_at_closely(tab, tmp_path):
    path = tmp_path / "long.avi"  # its length is the service's word
    path.write_bytes(b"RIFF")
    parts = [
        {"start": i, "end": i + 1.0, "label": CLASSES[i // 7 % 3], "score": 0.9, "top": []}
        for i in range(3600)
    ]
    long = answer() | {"score": 0.3, "duration": 3600.0, "timeline": parts, "segments": []}
    tab.service.predict = lambda query: (200, long, {})
    page = tab.open()
    tab.shown(path)
    assert page.locator("#track .band").count() == 515  # 3600 windows, 515 runs
    assert "not sure of the whole" in page.inner_text("#about")
    assert "30:00.0" in page.inner_text("#ticks")
    for _ in range(4):
        page.click("#zoom-in")
    assert page.inner_text("#zoom-text") == "3:45.0 at a time"
    page.focus(TRACK)
    page.keyboard.press("End")
    inside = page.evaluate(
        """() => {
          const c = document.getElementById("cursor").getBoundingClientRect();
          const s = document.getElementById("scroller").getBoundingClientRect();
          return c.left >= s.left - 3 && c.left <= s.right + 3;
        }"""
    )
    assert inside
    page.click("#table-box summary")
    assert page.locator("#table tr").count() == 300
    assert page.inner_text("#table-more") == "The first 300 of 515; the CSV has all."


def test_heat_of_parts_leaves_what_lies_between_alone(tab, film):
    parts = explained()
    for key in ("heat", "importance"):
        parts[key]["times"] = [0.1, 0.2, 0.3, 0.4, 3.1, 3.2, 3.3, 3.4]
    tab.service.predict = lambda query: (200, parts, {})
    tab.open()
    page = tab.shown(film)
    assert "in 2 parts of the video" in page.inner_text("#explained")
    assert page.locator("#importance polyline").count() == 2  # no line from one to the other
    seek(tab, 3.25)
    page.wait_for_selector("#overlay[data-map='5'], #overlay[data-map='6']")
    seek(tab, 0.6)
    page.wait_for_selector("#overlay[data-map='-1']")
