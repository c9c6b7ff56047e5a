"""The public API is what is written down: nothing of it goes or comes without somebody's word."""

from pathlib import Path

import pytest

from release.public import lines, parameters

WRITTEN = Path(__file__).with_name("public.txt")
RENEW = "python tests/release/public.py > tests/release/public.txt"


@pytest.fixture(scope="module")
def found():
    return lines()


def test_what_users_count_on_is_still_there(found):
    gone = [line for line in WRITTEN.read_text("utf-8").splitlines() if line not in found]
    assert gone == [], f"changed or removed; see docs/stability.md, then renew: {RENEW}"


def test_what_is_new_is_written_down(found):
    new = sorted(set(found) - set(WRITTEN.read_text("utf-8").splitlines()))
    assert new == [], f"new in public; write it down: {RENEW}"


def test_parameters_say_order_keywords_and_defaults():
    def some(a, b=1, *, c, d=None, **rest):
        """Nothing."""

    assert parameters(some) == "(a, b=, *, c, d=, **rest)"
    assert parameters(lambda *a, b: 0) == "(*a, b)"


def test_the_lists_of_the_stability_note_are_those_of_the_door(found):
    note = Path(__file__).resolve().parents[2] / "docs" / "stability.md"
    text = note.read_text("utf-8")
    names = {line.partition("(")[0] for line in found if line.startswith("pseudo3d.")}
    missing = [name for name in sorted(names) if name.count(".") == 1 and f"`{name}`" not in text]
    assert missing == []
