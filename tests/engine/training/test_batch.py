"""The batch is as large as memory allows, and the step keeps its clips."""

import json
from dataclasses import asdict

import pytest

from pseudo3d.engine.training.batch import batch_of_run, fit_batch
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.memory import forecast


def needs(net, recipe, batch):
    states = 2 + bool(recipe.ema)
    return forecast(net, batch, 4, 16, recipe.precision, states=states).total


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_keeps_its_clips(small, fresh, precision):
    how = small.but(batch=6, accumulate=2, precision=precision, ema=0.1)
    net = fresh()
    for batch, accumulate in ((12, 1), (4, 3), (1, 12)):
        fitted = fit_batch(how, net, needs(net, how, batch))
        assert (fitted.batch, fitted.accumulate) == (batch, accumulate)
        assert fitted.but(batch=6, accumulate=2) == how


def test_no_room_is_said_with_the_way_out(small, fresh):
    with pytest.raises(Pseudo3dError, match="checkpointing=true"):
        fit_batch(small, fresh(), 1 << 20)


def test_an_interrupted_run_keeps_its_batch(small, tmp_path):
    begun = small.but(batch=3, accumulate=4)
    (tmp_path / "run.json").write_text(json.dumps({"recipe": asdict(begun)}))
    assert batch_of_run(small, tmp_path / "run.json") == begun
