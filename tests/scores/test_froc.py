"""Free-response ROC: MONAI's curve on the same points, and its own rules."""

from time import process_time

import numpy as np
import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.scores.bootstrap import Draws
from pseudo3d.scores.froc import (
    Candidates,
    Hits,
    froc,
    froc_curve,
    froc_statistic,
    hits,
    lesions_of,
    peaks,
)


def made(seed, scans=12, shape=(12, 16, 16)):
    """Scans with boxes as lesions, and points, some of them in lesions."""
    rng = np.random.default_rng(seed)
    for _ in range(scans):
        lesions = np.zeros(shape, dtype=np.int64)
        for number, (z, y) in enumerate(((1, 1), (6, 9))[: rng.integers(0, 3)], start=1):
            lesions[z : z + 3, y : y + 4, 4:9] = number
        spots = rng.integers(0, shape, (25, 3))
        yield lesions, Candidates(points=spots, scores=rng.random(25).astype(np.float32))


def test_the_curve_is_that_of_monai(monai_metrics):
    scans, alarms, found, targets = list(made(0)), [], [], 0
    for lesions, points in scans:
        fp, tp, count = monai_metrics.compute_fp_tp_probs_nd(points.scores, points.points, lesions)
        alarms, found, targets = [*alarms, *fp], [*found, *tp], targets + count
    fps, sens = monai_metrics.compute_froc_curve_data(
        np.array(alarms), np.array(found), targets, len(scans)
    )
    ours = froc_curve([hits(points, lesions) for lesions, points in scans])
    rates = {p.alarms_per_scan: p.sensitivity for p in ours}
    # theirs runs the other way, and from its second-lowest threshold (missed lesions score 0)
    best = {}
    for rate, share in zip(fps, sens, strict=True):
        best[float(rate)] = max(best.get(float(rate), 0.0), float(share))
    highest = {p.alarms_per_scan: max(q.sensitivity for q in ours if q[0] == p[0]) for p in ours}
    assert len(rates) > 50
    assert {k: highest[k] for k in best} == pytest.approx(best)


def test_sensitivity_is_read_at_thresholds_that_exist():
    scans = [
        Hits(lesions=np.array([0.9, 0.3]), alarms=np.array([0.5, 0.4])),
        Hits(lesions=np.array([0.8, -np.inf]), alarms=np.array([0.2])),
    ]
    found = froc(scans, rates=[0.0, 0.5, 1.0, 8.0])
    assert {r: v.value for r, v in found.at.items()} == {0.0: 0.5, 0.5: 0.5, 1.0: 0.75, 8.0: 0.75}
    assert found.mean.value == pytest.approx(0.625)
    assert (found.scans, found.lesions) == (2, 4)
    assert found.curve[0] == (0.0, 0.0, np.inf)
    assert found.curve[-1][:2] == (1.5, 0.75)


@pytest.mark.parametrize("seed", range(4))
def test_a_weighted_sensitivity_is_that_of_trying_every_threshold(seed):
    """Written out scan by scan, ties and lesions that nothing hits among them."""
    rng = np.random.default_rng(seed)
    scans = [
        Hits(
            lesions=rng.choice([-np.inf, *range(9)], rng.integers(0, 4)),
            alarms=rng.integers(0, 9, rng.integers(0, 6)).astype(float),
        )
        for _ in range(7)
    ]
    steps = [np.inf, *np.unique(np.concatenate([np.r_[s.lesions, s.alarms] for s in scans]))]
    weights = rng.integers(0, 3, (20, 7)).astype(float)
    for rate in (0.0, 0.5, 2.0):
        best = []
        for row in weights:
            count = sum(w * len(s.lesions) for w, s in zip(row, scans, strict=True))
            shares = [
                sum(w * (s.lesions >= t).sum() for w, s in zip(row, scans, strict=True))
                for t in steps
                if t > -np.inf
                and sum(w * (s.alarms >= t).sum() for w, s in zip(row, scans, strict=True))
                <= rate * row.sum()
            ]
            best.append(max(shares) / count if count else np.nan)
        np.testing.assert_allclose(froc_statistic(scans, rate)(weights), best)


def test_many_alarms_take_no_longer_than_few():
    """Thresholds between two hits are none: the work follows the lesions."""
    rng = np.random.default_rng(0)
    scans = [Hits(lesions=rng.random(1), alarms=rng.random(20_000)) for _ in range(100)]
    start = process_time()
    froc(scans, draws=Draws(count=200))
    assert process_time() - start < 20  # it took hours


def test_healthy_scans_count_for_false_alarms():
    ill = Hits(lesions=np.array([0.5]), alarms=np.array([0.9]))
    alone = froc([ill], rates=[0.5]).at[0.5]
    among = froc([ill, Hits(lesions=np.array([]), alarms=np.array([]))], rates=[0.5]).at[0.5]
    assert (alone.value, among.value) == (0.0, 1.0)


def test_several_hits_of_a_lesion_count_once_and_are_no_alarms():
    lesions = np.zeros((4, 4, 4), dtype=np.int64)
    lesions[1:3, 1:3, 1:3] = 1
    points = np.array([[1, 1, 1], [2, 2, 2], [0, 0, 0]])
    found = hits(Candidates(points=points, scores=np.array([0.4, 0.7, 0.9])), lesions)
    assert found.lesions.tolist() == [0.7]
    assert found.alarms.tolist() == [0.9]


def test_reach_is_in_millimeters_and_gives_a_point_to_the_nearest_lesion():
    lesions = np.zeros((7, 3, 3), dtype=np.int64)
    lesions[0], lesions[6] = 1, 2
    point = Candidates(points=np.array([[2, 1, 1]]), scores=np.array([0.5]))
    near = hits(point, lesions, (3.0, 1.0, 1.0), reach=6.0)
    assert near.lesions.tolist() == [0.5, -np.inf]
    far = hits(point, lesions, (3.0, 1.0, 1.0), reach=5.9)
    assert far.lesions.tolist() == [-np.inf, -np.inf]
    assert far.alarms.tolist() == [0.5]


def test_peaks_are_apart_in_millimeters_and_the_surest_come_first():
    heat = np.zeros((20, 20, 20))
    heat[3, 3, 3], heat[5, 3, 3], heat[3, 5, 3], heat[15, 15, 15] = 0.5, 0.4, 0.3, 0.9
    found = peaks(heat, (3.0, 1.0, 1.0), radius=4.0)
    assert found.points.tolist() == [[15, 15, 15], [3, 3, 3], [5, 3, 3]]
    assert found.scores.tolist() == [0.9, 0.5, 0.4]
    assert len(peaks(heat, (3.0, 1.0, 1.0), radius=7.0).scores) == 2
    assert len(peaks(heat, (3.0, 1.0, 1.0), radius=1.0).scores) == 4
    assert len(peaks(heat, (1.0, 1.0, 1.0), radius=1.0, least=0.45).scores) == 2
    halves = peaks(heat.astype(np.float16), (3.0, 1.0, 1.0), radius=4.0)  # as predict_scan gives
    assert np.array_equal(halves.points, found.points)
    assert len(peaks(heat, (1.0, 1.0, 1.0), radius=1.0, most=1).scores) == 1


def test_a_plateau_is_one_peak_and_an_empty_map_has_none():
    heat = np.zeros((9, 9, 9))
    heat[2:5, 2:5, 2:5] = 1
    assert peaks(heat, (1.0, 1.0, 1.0), radius=2.0).points.tolist() == [[3, 3, 3]]
    assert peaks(np.zeros((3, 3, 3)), (1.0, 1.0, 1.0), radius=2.0).points.shape == (0, 3)


def test_lesions_are_connected_parts():
    mask = np.zeros((5, 5, 5), dtype=np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 1  # touch at a corner
    mask[4, 4, 4] = 2
    numbered, count = lesions_of(mask)
    assert count == 2
    assert numbered[0, 0, 0] == numbered[1, 1, 1] != numbered[4, 4, 4]


def test_intervals_hold_the_value_and_patients_widen_them():
    rng = np.random.default_rng(0)
    scans = [Hits(lesions=rng.random(2), alarms=rng.random(3) * 0.8) for _ in range(30)]
    alone = froc(scans, rates=[1.0]).at[1.0]
    assert alone.low < alone.value < alone.high
    whole = froc([s for s in scans for _ in range(4)], rates=[1.0], units=np.arange(30).repeat(4))
    assert whole.at[1.0].high - whole.at[1.0].low == pytest.approx(alone.high - alone.low, abs=0.05)
    perfect = froc([Hits(lesions=np.ones(1), alarms=np.zeros(0))] * 9, draws=Draws(count=200))
    assert perfect.mean.value == 1.0
    assert 0.6 < perfect.mean.low < 0.8


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(Pseudo3dError, match="without a lesion"):
        froc_curve([Hits(lesions=np.array([]), alarms=np.array([0.5]))])
    with pytest.raises(Pseudo3dError, match="voxel"):
        hits(
            Candidates(points=np.array([[0, 0, 9]]), scores=np.array([1.0])),
            np.zeros((2, 2, 2), dtype=np.int64),
        )
    with pytest.raises(Pseudo3dError, match="radius"):
        peaks(np.zeros((2, 2, 2)), (1.0, 1.0, 1.0), radius=0.0)
