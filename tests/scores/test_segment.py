"""Masks over many scans: what is missed or invented counts, what is not there does not."""

import csv
import io
import json
import math

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.segment import CaseRow, MaskOptions, case_rows, segmentation

OPTIONS = MaskOptions(names=("head", "tail"))
STEP = (2.0, 1.0, 1.0)


def cube(label=1, at=1):
    mask = np.zeros((6, 6, 6), dtype=np.uint8)
    mask[at : at + 3, 1:4, 1:4] = label
    return mask


def score(pairs, **rest):
    rows = [
        row for i, (a, b) in enumerate(pairs) for row in case_rows(f"s{i}", a, b, STEP, OPTIONS)
    ]
    return segmentation(rows, OPTIONS, **rest)


def test_a_row_holds_what_is_measured_in_millimeters():
    head, tail = case_rows("a", cube(at=2), cube(), STEP, OPTIONS)
    assert head.dice == pytest.approx(2 / 3)
    assert head.hd95_mm == 2.0
    assert head.surface_dice < 1
    assert head.true_ml == pytest.approx(27 * 2 / 1000)
    assert math.isnan(tail.dice)


def test_the_tolerance_is_that_of_the_options():
    wide = MaskOptions(names=("head",), tolerance_mm=2.0)
    (row,) = case_rows("a", cube(at=2), cube(), STEP, wide)
    assert row.surface_dice == 1.0
    assert segmentation([row], wide).tolerance_mm == 2.0


def test_missed_and_invented_labels_count_and_absent_ones_do_not():
    nothing = np.zeros((6, 6, 6), dtype=np.uint8)
    found = score([(cube(), cube()), (nothing, cube()), (cube(), nothing), (nothing, nothing)])
    head, tail = found.labels
    assert (head.scored, head.missed, head.invented) == (3, 1, 1)
    assert head.dice.value == pytest.approx(1 / 3)
    assert head.hd95_mm.value == math.inf  # two of three have no distance
    assert tail.scored == 0
    assert str(tail.dice) == "undefined"
    assert found.mean_dice == pytest.approx(1 / 3)
    assert "1 missed, 1 invented" in found.describe()
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_median_distance_survives_one_missed_scan():
    nothing = np.zeros((6, 6, 6), dtype=np.uint8)
    found = score([(cube(), cube()), (cube(at=2), cube()), (cube(at=3), cube()), (nothing, cube())])
    assert found.labels[0].hd95_mm.value == pytest.approx(3.0)  # of 0, 2, 4 and none
    even = score([(cube(), cube()), (cube(at=2), cube())])
    assert even.labels[0].hd95_mm.value == pytest.approx(1.0)


def test_missed_scans_are_values_of_the_median_and_not_left_out_of_its_interval():
    """Four of ten scans missed: in a good part of the draws half of them are."""
    far = [row(i, float(i + 1)) for i in range(6)] + [row(i, math.inf) for i in range(6, 10)]
    found = segmentation(far, MaskOptions(names=("l",)))
    median = found.labels[0].hd95_mm
    rng = np.random.default_rng(1)
    values = np.array([r.hd95_mm for r in far])
    drawn = np.sort([np.median(rng.choice(values, 10)) for _ in range(4000)])
    assert (median.value, median.low, median.high) == (5.5, drawn[100], math.inf)
    assert median.undefined == 0
    assert str(median) == "5.500 (95 % 3.000 to inf)"
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    told = told["labels"]["l"]["median_hd95_mm"]
    assert (told["value"], told["high"], told["text"]) == (5.5, None, str(median))


def test_a_median_that_is_infinite_says_so_and_is_not_undefined():
    rows = [row(i, 2.0) for i in range(3)] + [row(i, math.inf) for i in range(3, 9)]
    median = segmentation(rows, MaskOptions(names=("l",))).labels[0].hd95_mm
    assert str(median) == "inf (95 % 2.000 to inf)"
    every = segmentation(rows[3:], MaskOptions(names=("l",))).labels[0].hd95_mm
    assert str(every) == "inf (no interval)"
    assert every.to_dict()["text"] == "inf (no interval)"


def test_tilted_scans_have_their_own_volumes_and_a_warning_beside_distances():
    straight = case_rows("a", cube(at=2), cube(), STEP, OPTIONS)
    assert case_rows("a", cube(at=2), cube(), STEP, OPTIONS, 0.002) == straight
    tilted = case_rows("a", cube(at=2), cube(), STEP, OPTIONS, 0.002 * math.cos(math.radians(20)))
    assert tilted[0].true_ml == pytest.approx(27 * 0.002 * 0.9397, rel=1e-4)
    assert tilted[0].dice == straight[0].dice
    assert "the axes of 1 scans are not at right angles" in segmentation(tilted, OPTIONS).describe()
    assert "right angles" not in segmentation(straight, OPTIONS).describe()


def row(number, distance):
    missed = math.isinf(distance)
    return CaseRow(
        scan=str(number), label="l", dice=0.0 if missed else 0.8, hd95_mm=distance,
        mean_distance_mm=distance, surface_dice=0.0 if missed else 0.9,
        found_ml=0.0 if missed else 1.0, true_ml=1.0,
    )  # fmt: skip


def test_patients_are_drawn_whole():
    rng = np.random.default_rng(0)
    pairs = [(cube(at=int(a)), cube()) for a in rng.integers(0, 4, 8).repeat(5)]
    alone = score(pairs).labels[0].dice
    whole = score(pairs, units={f"s{i}": i // 5 for i in range(40)}).labels[0].dice
    assert whole.high - whole.low > 1.5 * (alone.high - alone.low)
    narrow = score(pairs, draws=Draws(level=0.5)).labels[0].dice
    assert narrow.high - narrow.low < alone.high - alone.low


def test_the_table_has_a_row_for_each_scan_and_label():
    table = list(csv.DictReader(io.StringIO(score([(cube(at=2), cube())]).to_csv())))
    assert [row["label"] for row in table] == ["head", "tail"]
    assert float(table[0]["hd95_mm"]) == 2.0
    assert table[1]["dice"] == ""


def test_labels_without_a_name_and_scans_without_a_patient_are_refused():
    with pytest.raises(Pseudo3dError, match="label 3"):
        case_rows("a", cube(3), cube(), STEP, OPTIONS)
    rows = case_rows("a", cube(), cube(), STEP, OPTIONS)
    with pytest.raises(Pseudo3dError, match="no unit: a"):
        segmentation(rows, OPTIONS, units={"b": 1})
    with pytest.raises(Pseudo3dError, match="no scans"):
        segmentation([], OPTIONS)
