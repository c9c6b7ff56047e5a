"""The arithmetic behind the timeline, in the browser that does it."""

import pytest

from serve.page.service import BASE, Service


class Call:
    """Calls functions of the page's modules with values."""

    def __init__(self, page):
        self.page = page

    def each(self, function, *many, module="windows"):
        """Once for each tuple of values."""
        code = "async ([from, name, all]) => {"
        code += " const module = await import(from); return all.map((v) => module[name](...v)); }"
        return self.page.evaluate(code, [f"/static/{module}.js", function, list(map(list, many))])

    def __call__(self, function, *values, module="windows"):
        return self.each(function, values, module=module)[0]


@pytest.fixture(scope="module")
def call(browser):
    context = browser.new_context()
    context.route("**/*", Service().open)
    page = context.new_page()
    page.goto(BASE)
    yield Call(page)
    context.close()


def part(start, end, label="a", score=0.9):
    return {"start": start, "end": end, "label": label, "score": score}


def test_cells_of_overlapping_windows_touch(call):
    cells = call("cells", [part(2, 6), part(0, 4), part(5, 9)])  # in any order
    assert [(c["start"], c["end"]) for c in cells] == [(0, 3), (3, 5.5), (5.5, 9)]
    assert call("cells", []) == []


def test_runs_join_what_is_the_same_and_weigh_scores_by_time(call):
    runs = call("runs", [part(0, 1, "a", 0.8), part(1, 4, "a", 0.4), part(4, 5, "a", 0.39)])
    assert [(r["start"], r["end"], r["sure"]) for r in runs] == [(0, 4, True), (4, 5, False)]
    assert runs[0]["score"] == pytest.approx(0.5)
    assert [r["label"] for r in call("runs", [part(0, 1, "a"), part(1, 2, "b")])] == ["a", "b"]


@pytest.mark.parametrize(("t", "label"), [(-1, "a"), (0.99, "a"), (1, "b"), (1.5, "b"), (9, "c")])
def test_the_part_at_a_time(call, t, label):
    assert call("partAt", [part(0, 1, "a"), part(1, 2, "b"), part(2, 3, "c")], t)["label"] == label


def test_gaps_split_times_and_do_not_change_their_spacing(call):
    times = [0, 1, 2, 30, 31, 32, 90]
    assert call("spacing", times) == 1
    assert call("stretches", times) == [[0, 3], [3, 6], [6, 7]]
    assert call("stretches", [5]) == [[0, 1]]
    assert call("stretches", [0, 2, 4]) == [[0, 3]]


@pytest.mark.parametrize("label", ["=1+1", "+x", "-x", "@x"])
def test_no_label_is_a_formula_in_a_spreadsheet(call, label):
    text = call("toCsv", {"segments": [part(0, 1, label)]})
    assert text == f"start,end,label,score\n0.000,1.000,'{label},0.900000\n"


@pytest.mark.parametrize(
    ("t", "text"),
    [(0, "0.0 s"), (59.94, "59.9 s"), (59.96, "1:00.0"), (83.4, "1:23.4"), (3725, "1:02:05")],
)
def test_times_read_as_people_write_them(call, t, text):
    assert call("clock", t, module="dom") == text


def test_heat_has_the_colors_of_the_scan_viewer(call):
    from matplotlib import colormaps

    codes = list(range(0, 256, 5))
    want = [[255 * v for v in colormaps["inferno"](code)[:3]] for code in codes]
    for found, wanted in zip(
        call.each("inferno", *((code,) for code in codes), module="heat"), want, strict=True
    ):
        assert found == pytest.approx(wanted, abs=12)  # 13 stops stand for 256 colors


def test_every_class_color_carries_readable_ink(call):
    from pseudo3d.report.plots import PALETTE

    names = [str(i) for i in range(len(PALETTE))]
    paints = call.each("paint", *((names, name) for name in names), module="dom")
    assert [paint["back"] for paint in paints] == list(PALETTE)
    for paint in paints:
        assert contrast(paint["back"], paint["ink"]) >= 4.5  # WCAG 2, 1.4.3


def contrast(one, other):
    low, high = sorted(luminance(color) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    line = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * line[0] + 0.7152 * line[1] + 0.0722 * line[2]
