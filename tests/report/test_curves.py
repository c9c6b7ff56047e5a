"""Curves of a run, and accuracy against time."""

import pytest

from pseudo3d.report.curves import curves_png, read_metrics
from pseudo3d.report.tradeoff import front, tradeoff_png


def test_metrics_are_read_as_curves_without_their_gaps(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,loss,step,val_clip_hit@1\n0,0.5,8,\n0,,8,0.25\n1,0.4,17,\n")
    assert read_metrics(file) == {"loss": [(8, 0.5), (17, 0.4)], "val_clip_hit@1": [(8, 0.25)]}
    assert curves_png(read_metrics(file), tmp_path / "c.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="no curves"):
        curves_png({}, tmp_path / "d.png")


def test_the_front_holds_what_nothing_beats_in_both():
    points = {
        "slow": (9.0, 0.9, 0.0), "good": (3.0, 0.9, 0.0), "fast": (1.0, 0.5, 0.0),
        "bad": (4.0, 0.4, 0.0), "worse at once": (1.0, 0.4, 0.0),
    }  # fmt: skip
    assert front(points) == ["fast", "good"]


def test_networks_are_drawn(tmp_path):
    path = tradeoff_png({"a": (1.0, 0.5, 0.1), "b": (2.0, 0.7, 0.0)}, tmp_path / "t.png", title="x")
    assert path.stat().st_size > 1000
    with pytest.raises(ValueError, match="no networks"):
        tradeoff_png({}, path)
