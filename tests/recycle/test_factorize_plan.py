"""Ranks are chosen so that nothing cheaper loses less."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pseudo3d.recycle.factorize.plan import Option, choose, least, ranks, round_up


def option(error, cost, order="space"):
    return Option(order=order, rank=1, error=error, cost=cost)


LAYER = st.lists(st.builds(option, st.floats(0, 0.99), st.floats(0.1, 10)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=200)
@given(st.lists(LAYER, min_size=1, max_size=3), st.floats(0.1, 1))
def test_no_choice_that_costs_as_little_loses_less(layers, share):
    options = {str(i): layer for i, layer in enumerate(layers)}
    lowest = least(options)
    most = sum(max(o.cost for o in layer) for layer in layers)
    found = choose(options, lowest + share * (most - lowest) + 1e-9)
    cost = sum(o.cost for o in found.values())
    loss = sum(o.loss for o in found.values())
    assert cost <= lowest + share * (most - lowest) + 1e-6
    for other in itertools.product(*layers):
        if sum(o.cost for o in other) <= cost:
            assert sum(o.loss for o in other) >= loss - 1e-9


def test_a_budget_below_the_cheapest_is_no_choice():
    options = {"a": [option(0, 4), option(0.5, 2)], "b": [option(0, 3)]}
    assert least(options) == 5
    assert choose(options, 4.9) is None
    assert choose(options, 5)["a"].error == 0.5


def test_what_costs_nothing_to_keep_is_kept():
    whole = option(0.0, 4, order=None)
    assert choose({"a": [option(0.1, 5), whole, option(0.5, 1)]}, 4)["a"] is whole


def test_losses_add_up_as_what_is_kept_multiplies():
    assert option(0.5, 1).loss + option(0.2, 1).loss == pytest.approx(-math.log(0.5 * 0.8))
    assert math.isfinite(option(1.0, 1).loss)


@pytest.mark.parametrize(
    ("full", "channels", "groups", "first", "last"),
    [
        (192, 64, 1, [16, 32, 48], 192),
        (48, 16, 1, [16, 32, 48], 48),
        (24, 8, 1, [8, 16, 24], 24),
        (12, 64, 1, [12], 12),  # a stem of few channels: its full rank only
        (48, 16, 6, [48], 48),
        (192, 64, 32, [32, 64, 96], 192),
    ],
)
def test_ranks_are_multiples_of_sixteen_and_of_the_groups(full, channels, groups, first, last):
    found = ranks(full, channels, groups)
    assert list(found)[:3] == first
    assert found[-1] == last


def test_a_rank_is_rounded_up_but_not_past_the_full_one():
    assert round_up(17, range(16, 65, 16), 64) == 32
    assert round_up(32, range(16, 65, 16), 64) == 32
    assert round_up(70, range(16, 65, 16), 72) == 72
