"""The demo set: only time order tells its pairs apart, and people stay in their split."""

import csv
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from pseudo3d.data.rendered import courses, motions
from pseudo3d.data.rendered.motions import (
    CLASSES,
    ORDER_PAIRS,
    render_clip,
    render_long,
    render_motions,
)
from pseudo3d.data.video import read_video
from pseudo3d.errors import Pseudo3dError

PERIODIC = ("clapping", "waving")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_motions(tmp_path_factory.mktemp("demo"), persons=4, clips_per_class=4, size=48)


def rows(manifest: Path) -> list[dict[str, str]]:
    with manifest.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_classes_are_the_pairs_and_two_periodic_motions():
    assert sorted([name for pair in ORDER_PAIRS for name in pair] + [*PERIODIC]) == list(CLASSES)
    assert len(set(CLASSES)) == 12


@pytest.mark.parametrize("pair", ORDER_PAIRS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_pair_is_the_same_clip_in_the_two_directions(pair, seed):
    first, second = (render_clip(name, 1, (seed,), 48) for name in pair)
    assert first.fps == second.fps
    assert np.array_equal(first.frames, second.frames[::-1])
    assert not np.array_equal(first.frames, second.frames)


@pytest.mark.parametrize("pair", ORDER_PAIRS)
def test_the_coded_files_of_a_pair_hold_the_same_set_of_frames(pair, tmp_path):
    """A codec that treats the first frame differently would give the direction away."""
    decoded = []
    for name in pair:
        clip = render_clip(name, 0, (7,), 48)
        motions._write(tmp_path / f"{name}.mp4", clip.frames, clip.fps)
        decoded.append(read_video(tmp_path / f"{name}.mp4").frames.numpy())
    assert np.array_equal(decoded[0], decoded[1][:, ::-1])


def test_the_course_has_one_distribution_for_both_directions():
    draws = np.stack([courses._course(np.random.default_rng(i), 21) for i in range(600)])
    assert np.all(np.diff(draws, axis=1) >= 0)
    assert np.all(draws[:, 0] == 0)
    assert np.all(draws[:, -1] == 1)
    back = 1 - draws[:, ::-1]
    np.testing.assert_allclose(draws.mean(0), back.mean(0), atol=0.02)
    np.testing.assert_allclose(draws.std(0), back.std(0), atol=0.02)


@pytest.mark.parametrize("label", CLASSES)
def test_a_clip_has_the_promised_form_and_moves(label):
    clip = render_clip(label, 2, (3,), 64)
    assert clip.frames.dtype == np.uint8
    assert clip.frames.shape[1:] == (64, 64, 3)
    assert 16 <= len(clip.frames) <= 32
    assert 12 <= clip.fps <= 16


@pytest.mark.parametrize("label", sorted(set(CLASSES) - {second for _, second in ORDER_PAIRS}))
def test_every_motion_moves_far_more_than_the_unrest_of_the_body(label):
    person = motions._person(0, 0)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        scene = motions._scene(rng, person, 32, stool=True)
        moved = np.ptp(courses.poses(rng, label, scene, 30, 15), axis=0)
        assert moved[:10].max() > 25 or moved[10] > 0.4  # degrees; share of the body height


def test_the_same_seed_gives_the_same_frames_and_another_seed_others():
    first, again, other = (render_clip("sit", 0, (seed,), 48).frames for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_a_person_looks_the_same_in_every_clip_and_unlike_the_others():
    assert motions._person(0, 3) == motions._person(0, 3)
    assert motions._person(0, 3) != motions._person(0, 4)
    assert motions._person(0, 3) != motions._person(1, 3)


def test_the_place_does_not_depend_on_the_class_except_for_the_stool():
    """Of the ten others about half have a stool, so that it does not stand for sitting."""
    person = motions._person(0, 0)
    stools = [
        motions._scene(np.random.default_rng(i), person, 32, stool=False).stool for i in range(60)
    ]
    assert 15 < sum(s is not None for s in stools) < 45
    assert {s for s in stools if s is not None} == {-1.0, 1.0}


def test_the_manifest_lists_every_file_and_no_person_is_in_two_splits(demo):
    listed = rows(demo)
    assert list(listed[0]) == ["path", "label", "group", "split"]
    assert Counter(row["label"] for row in listed) == dict.fromkeys(CLASSES, 4)
    assert all((demo.parent / row["path"]).is_file() for row in listed)
    assert len({row["path"] for row in listed}) == len(listed) == 48
    splits = defaultdict(set)
    for row in listed:
        splits[row["group"]].add(row["split"])
    assert [len(s) for s in splits.values()] == [1] * 4
    assert set.union(*splits.values()) == {"train", "val", "test"}


def test_a_rendered_file_reads_back_as_a_video(demo):
    row = rows(demo)[0]
    video = read_video(demo.parent / row["path"])
    assert video.frames.shape[0] == 3
    assert tuple(video.frames.shape[2:]) == (48, 48)
    assert 16 <= video.frames.shape[1] <= 32


def test_ten_persons_are_six_to_train_one_to_choose_and_three_to_test():
    assert Counter(motions._splits(10)) == {"train": 6, "val": 1, "test": 3}
    assert set(motions._splits(3)) == {"train", "val", "test"}


def test_progress_counts_every_clip(tmp_path):
    calls = []
    render_motions(
        tmp_path, persons=3, clips_per_class=3, size=32, progress=lambda *c: calls.append(c)
    )
    assert calls == [(i, 36) for i in range(1, 37)]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"persons": 2}, "persons is 2"),
        ({"clips_per_class": 5}, "clips_per_class is 5"),
        ({"size": 33}, "size is 33"),
    ],
)
def test_impossible_sets_are_refused_before_anything_is_written(wrong, words, tmp_path):
    with pytest.raises(Pseudo3dError, match=words):
        render_motions(tmp_path / "out", **wrong)
    assert not (tmp_path / "out").exists()


def test_an_unknown_motion_is_named_with_the_nearest():
    with pytest.raises(Pseudo3dError, match=r"'wave_lift'\. Did you mean wave_left"):
        render_clip("wave_lift")


def test_the_long_video_is_as_long_as_its_truth_says(tmp_path):
    truth = render_long(tmp_path / "long.mp4", seconds=24, size=48)
    video = read_video(tmp_path / "long.mp4")
    assert 7 <= len(truth) <= 10
    assert all(label in CLASSES for _, _, label in truth)
    ends = [t for start, end, _ in truth for t in (start, end)]
    assert ends == sorted(ends)
    assert ends[0] > 0
    assert ends[-1] < video.frames.shape[1] / 15
    assert truth == render_long(tmp_path / "again.mp4", seconds=24, size=48)


@pytest.mark.parametrize("seed", range(4))
def test_who_sits_down_in_the_long_video_stands_up_next(seed):
    blocks = motions._program(np.random.default_rng(seed), 20)
    labels = [label for block in blocks for label in block]
    assert set(labels) == set(CLASSES)
    for i, label in enumerate(labels):
        if label in ("sit", "recede", "open"):
            assert labels[i + 1] == {"sit": "stand", "recede": "approach", "open": "close"}[label]


def test_the_body_is_where_it_was_when_the_next_action_starts():
    person = motions._person(0, 0)
    scene = motions._scene(np.random.default_rng(0), person, 32, stool=True)
    for labels in (("sit", "stand"), ("turn_ccw", "turn_cw"), ("wave_right", "wave_left")):
        first, second = motions._act(np.random.default_rng(1), scene, labels)
        np.testing.assert_array_equal(first[-1], second[0])
        np.testing.assert_array_equal(first[0], second[-1])
