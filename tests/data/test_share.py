"""Whatever the number of processes: the same batches, and for each row the same random numbers."""

from itertools import chain, pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pseudo3d.data.dataset import Batch, EpochSampler, part_of
from pseudo3d.data.share import Draws, draws_for, share_of
from pseudo3d.data.transforms import Augment, augment

EVERYTHING = Augment(
    rotate=20, zoom=(0.7, 1.3), stretch=0.3, shear=0.2, shift=0.2, brightness=0.3, contrast=0.3,
    saturation=0.3, flip=True,
)  # fmt: skip


@given(rows=st.integers(1, 40), ranks=st.integers(1, 9))
def test_shares_cover_a_batch_once_and_differ_by_one_row_at_most(rows, ranks):
    shares = [share_of(rows, rank, ranks) for rank in range(ranks)]
    assert [shares[0].start, shares[-1].stop] == [0, rows]
    assert all(a.stop == b.start for a, b in pairwise(shares))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert sum(share.weight for share in shares) / ranks == pytest.approx(1)


@given(
    items=st.integers(1, 30),
    batch=st.integers(1, 8),
    ranks=st.integers(1, 4),
    skip=st.integers(0, 3),
)
def test_processes_take_the_batches_of_one(items, batch, ranks, skip):
    whole, *parts = (
        EpochSampler(items, batch, 3, rank=r, ranks=n)
        for r, n in [(0, 1), *((r, ranks) for r in range(ranks))]
    )
    for sampler in (whole, *parts):
        sampler.epoch, sampler.skip = 2, min(skip, len(whole))
    shared = [[d for d in chain(*rows) if not d.spare] for rows in zip(*parts, strict=True)]
    assert shared == list(whole)
    for number, draws in enumerate(whole, start=whole.skip):
        sizes = [sampler.share(number).stop - sampler.share(number).start for sampler in parts]
        assert sum(sizes) == len(draws)


def test_an_order_of_ones_own_takes_the_place_of_the_shuffled_one():
    sampler = EpochSampler(5, 2, 0, order=lambda rng: torch.arange(5).flip(0))
    assert [[d.item for d in draws] for draws in sampler] == [[4, 3], [2, 1], [0]]
    seen = []
    sampler = EpochSampler(4, 2, 7, order=lambda rng: seen.append(rng) or torch.arange(4))
    sampler.epoch = 3
    list(sampler)
    plain = EpochSampler(4, 2, 7)
    plain.epoch = 3
    assert torch.randperm(4, generator=seen[0]).tolist() == [d.item for b in plain for d in b]


def test_who_has_no_row_reads_a_spare_one_and_drops_it():
    draws = next(iter(EpochSampler(1, 2, 0)))
    assert [d.spare for d in part_of(draws, 0, 2) + part_of(draws, 1, 2)] == [False, True]
    batch = Batch(
        torch.zeros(2, 3, 1, 4, 4, dtype=torch.uint8), torch.tensor([5, -1]), torch.ones(2)
    )
    assert batch.used().items.tolist() == [5]
    assert batch.used().clips.shape == (1, 3, 1, 4, 4)
    assert len(Batch(*(part[1:] for part in batch)).used().clips) == 0


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_clip_is_changed_alike_wherever_it_is_computed(ranks):
    clips = torch.rand(5, 3, 2, 10, 12)
    whole, mirrored = augment(clips, (8, 8), EVERYTHING, torch.Generator().manual_seed(1))
    for rank in range(ranks):
        share = share_of(5, rank, ranks)
        draws = Draws(torch.Generator().manual_seed(1), share)
        part, turned = augment(share.take(clips), (8, 8), EVERYTHING, draws)
        torch.testing.assert_close(part, share.take(whole))
        assert turned.equal(share.take(mirrored))


def test_boxes_and_normal_numbers_belong_to_rows():
    def drawn(share):
        draws = Draws(torch.Generator().manual_seed(2), share)
        return draws.boxes(2, 3), draws.normal(4), draws.uniform(3).T

    whole = drawn(share_of(5, 0, 1))
    for rank in range(2):
        share = share_of(5, rank, 2)
        for part, all_rows in zip(drawn(share), whole, strict=True):
            assert part.equal(share.take(all_rows))
    assert draws_for(5, torch.Generator().manual_seed(2)).boxes(2, 3).equal(whole[0])
