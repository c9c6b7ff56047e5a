"""Parsers meet what fuzzing has found, true files, and a few changes of those."""

import random
import sys
from pathlib import Path

import pytest

from hostile.targets import TARGETS
from pseudo3d.errors import Pseudo3dError

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parents[1] / "benchmarks"))

from fuzz import mutate  # noqa: E402 (the folder is no package)

KEPT = sorted((HERE / "seeds").rglob("*.bin"))
CHANGES = 6  # of each target; benchmarks/fuzz.py makes millions


def meet(target, folder, data):
    """Whether a parser takes the bytes; anything but taking or refusing them is a fault."""
    try:
        TARGETS[target].run(folder, data)
    except Pseudo3dError:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", KEPT, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_once_broke_a_parser_is_refused_in_words(path, tmp_path):
    meet(path.parent.name, tmp_path, path.read_bytes())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", TARGETS)
def test_true_files_are_taken_and_changed_ones_taken_or_refused(target, tmp_path):
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
