"""Clips come in a random order that can be repeated and taken up again anywhere."""

import numpy as np
import pytest
import torch

from pseudo3d.data.cache import Frames, FrameStore
from pseudo3d.data.dataset import (
    ClipDataset,
    ClipSpec,
    Draw,
    EpochSampler,
    generator,
    loader,
    view_batches,
)
from pseudo3d.data.manifest import Item
from pseudo3d.data.measure import measure
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.video import write_video
from pseudo3d.engine.evaluate import Protocol

GRAY = {"color": "gray", "mean": (0.0,), "std": (1.0,), "resize": 8, "size": (8, 8)}
UNIFORM = Preprocessing(frames=4, **GRAY)
DENSE = Preprocessing(frames=4, sampling="dense", step=2, **GRAY)
TIMED = Preprocessing(frames=4, sampling="dense", fps=5.0, **GRAY)


class Memory(FrameStore):
    """Items of 100 frames at 10 Hz; the first column holds the frame's number, the row the item."""

    def read(self, item):
        pixels = np.zeros((1, 100, 10, 12), dtype=np.uint8)
        pixels += np.arange(100, dtype=np.uint8)[None, :, None, None]
        pixels[..., 5:] = np.arange(7, dtype=np.uint8) + 200
        return Frames(pixels=pixels, times=torch.arange(100, dtype=torch.float64) / 10)


def dataset(pre=UNIFORM, count=7, **options):
    spec = ClipSpec(preprocessing=pre, canvas=(8, 8), **options)
    items = [Item(path=f"{i}", label="a") for i in range(count)]
    return ClipDataset(items, list(range(10, 10 + count)), Memory(resize=10, gray=True), spec)


def numbers(clip):
    """Which frames a clip of `Memory` holds."""
    return clip[0, :, 0, 0].tolist()


@pytest.mark.parametrize("pre", [UNIFORM, DENSE, TIMED])
def test_a_draw_is_a_clip_and_another_epoch_another_clip(pre):
    data = dataset(pre, random=True, random_crop=True)
    first, item, label = data[Draw(3, 0)]
    assert first.shape == (1, 4, 8, 8)
    assert first.dtype == torch.uint8
    assert (item, label) == (3, 13)
    assert torch.equal(first, data[Draw(3, 0)][0])
    assert torch.equal(first, dataset(pre, random=True, random_crop=True)[Draw(3, 0)][0])
    epochs = {tuple(data[Draw(3, e)][0].flatten().tolist()) for e in range(8)}
    others = {tuple(data[Draw(i, 0)][0].flatten().tolist()) for i in range(7)}
    seeds = {
        tuple(dataset(pre, random=True, seed=s)[Draw(3, 0)][0].flatten().tolist()) for s in range(8)
    }
    assert min(len(epochs), len(others), len(seeds)) >= 6


def test_random_clips_follow_the_keys_of_the_items():
    """So that a video's clips do not depend on where it stands in a list."""
    one = dataset(DENSE, random=True)
    other = ClipDataset(one.items, one.labels, one.store, one.spec, keys=[3, 2, 1, 0, 9, 9, 9])
    for i in range(4):
        assert torch.equal(other[Draw(i, 1)][0], one[Draw(3 - i, 1)][0])


def test_reading_draws_nothing_from_the_callers_random_numbers():
    before = torch.random.get_rng_state()
    assert len(list(loader(dataset(), view_batches(7, 1, 3), 0))) == 3
    assert torch.equal(torch.random.get_rng_state(), before)


def test_evaluation_views_are_the_samplers_views():
    views = [dataset(UNIFORM, views=5)[Draw(0, v)][0] for v in range(5)]
    assert [numbers(v) for v in views[:2]] == [[2, 27, 52, 77], [7, 32, 57, 82]]
    dense = [numbers(dataset(DENSE, views=3)[Draw(0, v)][0]) for v in range(3)]
    assert [d[0] for d in dense] == [0, 46, 93]
    timed = [numbers(dataset(TIMED, views=3)[Draw(0, v)][0]) for v in range(3)]
    assert timed == [[0, 2, 4, 6], [46, 48, 50, 52], [93, 95, 97, 99]]
    assert numbers(dataset(TIMED)[Draw(0, 0)][0]) == [46, 48, 50, 52]


def test_random_crops_move_and_fixed_ones_do_not():
    def places(**options):
        return {int(dataset(random=True, **options)[Draw(0, e)][0][0, 0, 0, -1]) for e in range(40)}

    assert places(random_crop=True) == {202, 203, 204, 205, 206}
    assert places() == {204}


def test_every_item_comes_once_per_epoch_in_an_order_of_its_own():
    sampler = EpochSampler(items=10, batch=4, seed=3)
    orders = []
    for epoch in range(3):
        sampler.epoch = epoch
        batches = list(sampler)
        assert [len(batch) for batch in batches] == [4, 4, 2]
        assert len(sampler) == 3
        draws = [draw for batch in batches for draw in batch]
        assert {draw.view for draw in draws} == {epoch}
        orders.append([draw.item for draw in draws])
        assert sorted(orders[-1]) == list(range(10))
    assert orders[0] != orders[1] != orders[2]
    again = EpochSampler(items=10, batch=4, seed=3)
    assert [draw.item for batch in again for draw in batch] == orders[0]
    other = EpochSampler(items=10, batch=4, seed=4)
    assert [draw.item for batch in other for draw in batch] != orders[0]


@pytest.mark.parametrize("skip", [0, 1, 2, 3])
def test_a_skipped_sampler_continues_the_epoch(skip):
    whole = EpochSampler(items=10, batch=4, seed=0)
    rest = EpochSampler(items=10, batch=4, seed=0)
    whole.epoch = rest.epoch = 2
    rest.skip = skip
    assert list(rest) == list(whole)[skip:]


def test_view_batches_cover_items_times_views_in_order():
    batches = view_batches(items=3, views=2, batch=4)
    assert [len(batch) for batch in batches] == [4, 2]
    whole = view_batches(items=3, views=4, batch=9)  # no item in two batches
    assert [[draw.item for draw in batch] for batch in whole] == [[0] * 4 + [1] * 4, [2] * 4]
    assert [len(batch) for batch in view_batches(items=2, views=4, batch=3)] == [3, 3, 2]
    flat = [(draw.item, draw.view) for batch in batches for draw in batch]
    assert flat == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_random_numbers_depend_on_every_part_of_the_key():
    keys = [(s, e, i) for s in range(3) for e in range(4) for i in range(-2, 5)]
    first = {float(torch.rand((), generator=generator(*key))) for key in keys}
    assert len(first) == len(keys)
    assert torch.equal(
        torch.rand(3, generator=generator(1, 2)), torch.rand(3, generator=generator(1, 2))
    )


def test_a_worker_process_gives_the_same_batches(tmp_path):
    items = []
    for i in range(3):
        frames = torch.randint(0, 256, (3, 6, 10, 12), dtype=torch.uint8)
        write_video(tmp_path / f"{i}.mp4", frames, fps=10)
        items.append(Item(path=tmp_path / f"{i}.mp4", label="a"))
    spec = ClipSpec(preprocessing=UNIFORM, canvas=(8, 8), random=True, random_crop=True)
    data = ClipDataset(items, [0, 1, 0], FrameStore(resize=10), spec)
    here, there = (
        [batch for _ in range(2) for batch in loader(data, EpochSampler(3, 2, 0), workers)]
        for workers in (0, 1)
    )
    assert [len(batch.items) for batch in there] == [2, 1, 2, 1]
    for ours, theirs in zip(here, there, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert ours.clips.shape[1:] == (3, 4, 8, 8)


def test_statistics_are_those_of_the_center_crops():
    data = dataset()
    found = measure(data.items, data.store, UNIFORM)
    clip = data.store.read(None).pixels[:, [12, 37, 62, 87], 1:9, 2:10] / 255
    assert found.mean == (pytest.approx(clip.mean(), abs=1e-4),)
    assert found.std == (pytest.approx(clip.std(), abs=1e-4),)
    change = np.sqrt(np.square(np.diff(clip, axis=1)).mean())
    assert found.difference_std == pytest.approx(change, abs=1e-4)


@pytest.mark.parametrize("count", [65, 100, 127, 191])
def test_statistics_are_taken_from_the_whole_list(count):
    """A folder is listed class by class: the last ones count as the first do."""
    looked = []

    class Store:
        def read(self, item):
            looked.append(item)
            return dataset().store.read(None)

    measure(range(count), Store(), UNIFORM)
    assert len(looked) <= 64
    assert max(looked) > 0.95 * count
    assert max(np.diff(looked)) == min(np.diff(looked))


def test_a_protocol_needs_a_view_and_a_clip():
    for wrong in ({"views": 0}, {"batch": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            Protocol(**wrong)
