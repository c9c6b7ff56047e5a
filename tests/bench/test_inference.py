"""The comparison: every way gives the network's logits, skipped ones say why, figures agree."""

import json

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from pseudo3d.bench import ways
from pseudo3d.bench.inference import Result, Row, compare, relative_error
from pseudo3d.bench.limits import CONVOLUTIONS, Limit
from pseudo3d.bench.measure import Figures
from pseudo3d.bench.report import chart_png, limit_lines, row_lines, table
from pseudo3d.bench.timing import Timing, spread
from pseudo3d.bench.ways import WAYS, Job, enliven, open_ways
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model

TORCH = ("plain", "eager", "fp32", "bf16")


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    sizes = {"widths": (8, 8, 16, 16), "stem_width": 8, "num_classes": 5}
    return enliven(create_model("p3d_tiny", **sizes)).eval()


def job(net, folder):
    clips = torch.randn(2, 3, 4, 24, 24, generator=torch.Generator().manual_seed(0))
    return Job(net=net, clips=clips, folder=folder, threads=1)


def test_every_way_of_torch_gives_the_networks_logits(net, tmp_path):
    task = job(net, tmp_path)
    with torch.inference_mode():
        want = net(task.clips)
    for way in open_ways(task, TORCH):
        assert way.skipped == ""
        close = {"rtol": 0.1, "atol": 0.1} if way.precision == "bf16" else {"rtol": 1e-4}
        assert_close(way.infer(task.clips), want, **{"atol": 1e-4, **close})


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in WAYS if name not in TORCH])
def test_every_exported_way_gives_the_networks_logits(net, tmp_path, name):
    pytest.importorskip(name.partition("-")[0])
    task = job(net, tmp_path)
    (way,) = open_ways(task, [name])
    assert way.skipped == ""
    with torch.inference_mode():
        want = net(task.clips)
    limit = {"fp32": 1e-5, "bf16": 2e-2, "int8": 0.2}[way.precision]
    assert relative_error(way.infer(task.clips), want) < limit


def test_a_way_that_fails_says_why_and_leaves_the_others(net, tmp_path, monkeypatch):
    def missing(task):
        raise ImportError("onnxruntime is not installed")

    def broken(task):
        raise RuntimeError("no such\nkernel")

    monkeypatch.setitem(WAYS, "onnxruntime", ("ONNX Runtime", "fp32", missing))
    monkeypatch.setitem(WAYS, "openvino", ("OpenVINO", "fp32", broken))
    told = []
    found = open_ways(job(net, tmp_path), ("onnxruntime", "openvino", "eager"), told.append)
    assert [way.skipped for way in found] == [
        "onnxruntime is not installed",
        "RuntimeError: no such kernel",
        "",
    ]
    assert told == ["ONNX Runtime", "OpenVINO", "pseudo3d, eager"]


def test_an_unknown_way_is_named(net, tmp_path):
    with pytest.raises(
        ValueError, match=r"unknown way to run a network: 'fp3'\. Did you mean fp32"
    ):
        open_ways(job(net, tmp_path), ["fp3"])


def test_lively_weights_use_time_and_are_the_same_again():
    first, again = (enliven(create_model("p3d_nano", num_classes=3), 4).eval() for _ in range(2))
    clip = torch.randn(1, 3, 6, 16, 16)
    with torch.inference_mode():
        assert_close(first(clip), again(clip))
        assert relative_error(first(clip), first(clip.flip(2))) > 1e-3


def test_comparison_holds_together(net, small_limits):
    clips = torch.randn(2, 3, 4, 24, 24)
    found = compare(net, clips, count=1, names=("eager", "bf16"), rounds=3, limit_seconds=0)
    assert [row.name for row in found.rows] == ["plain", "eager", "bf16"]
    assert (found.shape, found.threads, list(found.limits)) == (
        (2, 3, 4, 24, 24),
        1,
        ["fp32", "bf16"],
    )
    plain, eager, bf16 = found.rows
    assert plain.figures.speedup.median == 1
    assert plain.error == 0 < eager.error < 1e-5 < bf16.error < 0.1
    for row in found.rows:
        figures = row.figures
        assert figures.gflops == pytest.approx(found.gflop / figures.timing.seconds.median)
        assert figures.limit == found.limits[row.precision].convolution
        assert row.clips == 2
    shown = json.loads(json.dumps(found.to_dict()))["rows"][1]
    assert shown["clips_per_second"] == pytest.approx(2e3 / shown["median_ms"], rel=1e-2)


def test_nothing_that_runs_is_an_error(net, small_limits, monkeypatch):
    def missing(task):
        raise ImportError("gone")

    monkeypatch.setitem(WAYS, "plain", ("plain", "fp32", missing))
    with pytest.raises(Pseudo3dError, match="nothing to time: gone"):
        compare(net, torch.randn(1, 3, 4, 24, 24), names=())


@pytest.fixture
def result():
    """Three ways, one of them skipped."""

    def row(name, precision, ms, error, share, limit):
        timing = Timing(wall=(ms / 1e3,) * 3, cpu=(ms / 1e3,) * 3)
        ratio = spread([200 / ms])
        figures = Figures(
            timing=timing,
            speedup=ratio,
            speedup_cpu=ratio,
            gflops=16e3 / ms,
            share=share,
            limit=limit,
        )
        title = f"way {name}"
        return Row(
            name=name, title=title, precision=precision, clips=1, figures=figures, error=error
        )

    why = "not installed"
    rows = [
        row("plain", "fp32", 200.0, 0.0, 0.4, 200.0),
        Row(name="onnxruntime", title="ONNX Runtime", precision="fp32", skipped=why),
        row("int8", "int8", 25.0, 1e-2, None, None),
    ]
    limits = {
        "fp32": Limit(precision="fp32", threads=1, product=100.0, convolution=200.0),
        "int8": Limit(precision="int8", threads=1, product=800.0, convolution=None),
    }
    return Result(
        model="p3d50", shape=(1, 3, 16, 160, 160), threads=1, gflop=16.0, limits=limits, rows=rows
    )


def test_table_shows_figures_and_reasons(result):
    head, plain, skipped, int8 = row_lines(result.rows)
    assert len(head) == len(plain) == len(int8)
    shown = ("200.0", "200.0-200.0", "200.0", "5.00", "1.00x", "80", "40%", "")
    assert plain == ("way plain", *shown)
    assert skipped == ("ONNX Runtime", "skipped: not installed")
    assert int8[-4:] == ("8.00x", "640", "", "1.0e-02")
    assert limit_lines(list(result.limits.values()))[2] == ("int8", "1", "800", "cannot run")


def test_columns_are_aligned_for_people_and_tabbed_for_programs():
    lines = [("name", "ms", "x"), ("a", "10.0", "1"), ("long name", "skipped: why not")]
    assert table(lines, aligned=False).splitlines() == [
        "name\tms\tx",
        "a\t10.0\t1",
        "long name\tskipped: why not",
    ]
    assert table(lines, aligned=True).splitlines() == [
        "name         ms  x",
        "a          10.0  1",
        "long name  skipped: why not",
    ]


def test_chart_is_a_picture_of_what_ran(result, tmp_path):
    with Image.open(chart_png(result, tmp_path / "a" / "b.png", "some machine")) as picture:
        assert min(picture.size) > 300
    with pytest.raises(ValueError, match="nothing to draw"):
        chart_png(Result(**{**vars(result), "rows": result.rows[1:2]}), tmp_path / "c.png")


def test_kernels_of_the_limits_are_of_a_size_that_counts():
    assert all(len(shape) == 5 and min(shape) >= 1 for shape in CONVOLUTIONS)
    assert ways.PLAIN in WAYS
