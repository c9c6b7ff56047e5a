"""Parsers meet what fuzzing has found, true files, and a few changes of those."""

import random
import sys
from pathlib import Path

import pytest

from hostile.targets import TARGETS
from pseudo3d.data.isolation.isolated import Isolated, Limits

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))

from fuzz import mutate  # noqa: E402 (the folder is no package)

KEPT = sorted((HERE / "seeds").rglob("*.bin"))
CHANGES = 6  # of each target; benchmarks/fuzz.py makes millions


@pytest.fixture(scope="module")
def meet():
    """Whether a parser takes bytes; anything but taking or refusing them is a fault.

    In a process of its own: what damages its memory must not end the tests after it.
    """
    limits = Limits(seconds=60, memory_bytes=2**31)
    with pytest.MonkeyPatch.context() as patch, Isolated(limits, calls=10_000) as reader:
        patch.setenv("PYTHONPATH", str(HERE.parent))

        def run(target, folder, data):
            return reader.call("hostile.tasks:meet", target=target, folder=folder, data=data)

        yield run
        assert reader.replaced == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", KEPT, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_once_broke_a_parser_is_refused_in_words(path, tmp_path, meet):
    meet(path.parent.name, tmp_path, path.read_bytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_true_files_are_taken_and_changed_ones_taken_or_refused(target, tmp_path, meet):
    seeds = list(TARGETS[target].seeds(tmp_path))
    taken = [meet(target, tmp_path, data) for data in seeds]
    assert any(taken) or target in REFUSED
    rng = random.Random(0)
    for _ in range(CHANGES):
        meet(target, tmp_path, mutate(rng.choice(seeds), seeds, rng))


# Their true files hold arrays, but of no network.
REFUSED = {"torch", "caffe", "mxnet", "numpy"}


def test_the_seeds_are_small():
    assert sum(path.stat().st_size for path in KEPT) < 100_000
    assert {path.parent.name for path in KEPT} <= set(TARGETS)
