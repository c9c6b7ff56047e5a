"""Networks under one budget: what is trained, what is not done twice, what the table says."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import sem

from pseudo3d.data.cache import FrameStore
from pseudo3d.engine.evaluate import Protocol, evaluate
from pseudo3d.engine.training.job import Parts
from pseudo3d.engine.training.recipes import Recipe
from pseudo3d.errors import Pseudo3dError
from pseudo3d.explain.standings import Standing, draw, findings, markdown, standings
from pseudo3d.explain.study import (
    Study,
    Variant,
    block_study,
    read_trials,
    run_study,
    weights_of,
)
from pseudo3d.models.profile import profile
from pseudo3d.weights import load

SMALL = {"widths": (4, 4, 8, 8), "stem_width": 4}
NETS = (
    Variant(title="mixed", model="p3d_nano", options=SMALL),
    Variant(title="full 3-D", model="p3d_nano", options={**SMALL, "mixes": ("full",)}),
)


@pytest.fixture
def study(films, tmp_path):
    shape = {"frames": 4, "resize": 18, "size": (16, 16), "sampling": "uniform", "color": "gray"}
    return Study(
        variants=NETS,
        recipe=Recipe(epochs=1, batch=4, input=shape, precision="fp32"),
        seeds=(0, 1),
        parts=Parts(train=films.split("train"), held=films.split("test")),
        out=tmp_path / "study",
        views=2,
    )


@pytest.fixture
def store(tmp_path):
    return FrameStore(resize=18, gray=True, folder=tmp_path / "frames")


def test_the_variants_are_those_of_the_paper_and_full_3d():
    found = block_study("p3d_tiny")
    assert [v.title.removeprefix("p3d_tiny ") for v in found] == [
        "resnet_tiny (2-D)", "A", "B", "C", "mixed", "full 3-D",
    ]  # fmt: skip
    assert found[2].options == {"mixes": ("B",)}
    assert found[0].model == "resnet_tiny"
    assert len({v.slug for v in found}) == 6
    with pytest.raises(Pseudo3dError, match="'resnet18' has no blocks"):
        block_study("resnet18")


def test_every_network_is_trained_with_every_seed_and_scored(study, store):
    told = []
    trials = run_study(study, store, tell=told.append)
    assert [(t.title, t.seed) for t in trials] == [
        ("mixed", 0), ("full 3-D", 0), ("mixed", 1), ("full 3-D", 1),
    ]  # fmt: skip
    assert [t.steps for t in trials] == [4] * 4
    assert len(told) == 4
    assert all(t.train_seconds >= 0.01 for t in trials)
    scored = evaluate(
        weights_of(study, NETS[1], 1), study.parts.held, store, Protocol(views=2, split="test")
    )
    assert trials[3].video_hit1 == pytest.approx(scored.hit(1), abs=1e-6)
    assert trials[3].videos == 8
    net = load(weights_of(study, NETS[1], 1))
    assert net.cfg.mixes == ("full",)
    assert net.cfg.in_channels == 1
    assert json.loads((study.out / "study.json").read_text())["views"] == 2


def test_what_is_done_is_not_done_again(study, store, tmp_path):
    first = run_study(replace(study, seeds=(0,)), store, tell=lambda text: None)
    before = weights_of(study, NETS[0], 0).stat().st_mtime_ns
    told = []
    both = run_study(study, store, tell=told.append)
    assert both[:2] == first
    assert len(told) == 2
    assert weights_of(study, NETS[0], 0).stat().st_mtime_ns == before
    more = replace(study, variants=(*NETS, Variant(title="2-D", model="resnet_nano")))
    assert len(run_study(more, store, tell=told.append)) == 6
    assert read_trials(study.out)[-1].title == "2-D"
    with pytest.raises(Pseudo3dError, match="another views; give another --out"):
        run_study(replace(study, views=3), store, tell=told.append)
    changed = replace(study, variants=(replace(NETS[0], options={}),))
    with pytest.raises(Pseudo3dError, match="another mixed; give"):
        run_study(changed, store, tell=told.append)


def test_a_budget_of_time_becomes_steps(study, store):
    told = []
    timed = replace(study, seconds=1.0, seeds=(0,), variants=NETS[:1])
    (trial,) = run_study(timed, store, tell=told.append)
    (note,) = (timed.out / "mixed-timed").glob("*.txt")
    assert trial.steps == max(1, round(1.0 / float(note.read_text())))
    assert told[0].endswith(f"so {trial.steps} steps")


def test_nothing_held_out_is_refused(study):
    with pytest.raises(Pseudo3dError, match="nothing is held out"):
        replace(study, parts=Parts(train=study.parts.train))
    with pytest.raises(ValueError, match="variants"):
        replace(study, variants=(NETS[0], NETS[0]))


def test_the_table_has_size_cost_speed_and_accuracy(study, store, tmp_path):
    trials = run_study(study, store, tell=lambda text: None)
    rows = standings(study, trials, seconds=0.1)
    for row, variant in zip(rows, NETS, strict=True):
        mine = [t.video_hit1 for t in trials if t.title == variant.title]
        assert row.scores == tuple(mine)
        assert row.mean == pytest.approx(sum(mine) / 2)
        assert row.error == pytest.approx(sem(mine))
        counted = profile(load(weights_of(study, variant, 0)), 4, 16)
        assert (row.parameters, row.macs) == (counted.parameters, counted.macs)
        assert row.milliseconds > 0
    assert markdown(rows).splitlines()[2].startswith("| mixed | 0.00 M |")
    assert draw(rows, tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")


def made(**means):
    """Rows with a standard error of 0.01 each."""
    titles = {"flat": "r (2-D)", "mixed": "p mixed", "full": "p full 3-D"}
    return [
        Standing(
            title=titles.get(name, f"p {name}"), parameters=10, macs=10, milliseconds=2.0,
            scores=(mean - 0.01, mean + 0.01), train_seconds=1.0,
        )
        for name, mean in means.items()
    ]  # fmt: skip


def test_findings_say_plainly_what_holds_and_what_does_not():
    rows = made(flat=0.5, A=0.7, B=0.75, C=0.7, mixed=0.745, full=0.7)
    better, mixed, full = findings(rows)
    assert better.startswith("every P3D network is better than the 2-D one")
    assert "no worse than A, B and C, within a standard error" in mixed
    assert full.startswith("against full 3-D, mixed has +4.5 points (± 1.4)")
    rows = made(flat=0.7, A=0.7, B=0.8, C=0.71, mixed=0.78, full=0.8)
    better, mixed, full = findings(rows)
    assert better == (
        "NOT every P3D network is better than the 2-D one: p A 70.0 ± 1.0 % (r (2-D) 70.0 ± 1.0 %)"
    )
    assert mixed == "mixed (p mixed 78.0 ± 1.0 %) is WORSE than p B 80.0 ± 1.0 %"
    assert full.startswith("against full 3-D, mixed has -2.0 points")
    assert findings(made(other=0.5)) == []


def test_one_seed_has_no_interval_and_gives_no_verdict(tmp_path):
    means = {"flat": 0.5, "A": 0.7, "B": 0.8, "mixed": 0.6, "full": 0.7}
    rows = [replace(row, scores=row.scores[:1]) for row in made(**means)]
    assert all(np.isnan(row.error) for row in rows)
    assert [row.to_dict()["standard_error"] for row in rows] == [None] * 5
    json.dumps([row.to_dict() for row in rows], allow_nan=False)
    assert rows[0].cells()[-2:] == ("", "1")
    flat, mixed, full = findings(rows)
    assert flat.endswith("(r (2-D) 49.0 % (one seed: no interval))")
    assert mixed.endswith(": one seed cannot tell which is better")
    assert "mixed has -10.0 points (one seed: no interval)" in full
    text = "\n".join([flat, mixed, full, markdown(rows)])
    assert not any(word in text for word in ("WORSE", "± 0", "nan", "within"))
    some = [*rows[:3], *made(mixed=0.6)]  # one of them with two seeds is not enough
    assert "one seed cannot tell" in findings(some)[1]
    assert draw(rows, tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
