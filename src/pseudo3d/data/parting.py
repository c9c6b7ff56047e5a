"""What belongs together, and which of it is held out, so that every class loses its share."""

import math
import random
from collections import Counter
from collections.abc import Sequence

from pseudo3d.data.item import Item


def units(items: Sequence[Item]) -> list[str]:
    """For each item the name of what it must stay together with.

    That is its group. An item without one belongs with all other spans of its file, and so with
    their groups.
    """
    bare = {item.whole for item in items if item.group is None}
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while (up := above.setdefault(name, name)) != name:
            above[name] = name = above[up]
        return name

    for item in items:
        if item.group is not None and item.whole in bare:
            above[top(item.whole)] = top(item.group)
    return [top(item.whole if item.group is None else item.group) for item in items]


def balanced(counts: dict[str, Counter[str]], fraction: float, rng: random.Random) -> set[str]:
    """Choose groups whose class counts come near `fraction` of all; best of 32 random orders."""
    total = sum(counts.values(), Counter())
    best: set[str] = set()
    best_cost, keys = math.inf, sorted(counts)
    for _ in range(32):
        rng.shuffle(keys)
        held: set[str] = set()
        share = dict.fromkeys(total, 0.0)
        for key in keys:
            more = {c: share[c] + n / total[c] for c, n in counts[key].items()}
            gain = sum((share[c] - fraction) ** 2 - (m - fraction) ** 2 for c, m in more.items())
            if (gain > 0 or not held) and len(held) < len(keys) - 1:
                held.add(key)
                share |= more
        cost = sum((s - fraction) ** 2 for s in share.values())
        if cost < best_cost:
            best, best_cost = held, cost
    return best
