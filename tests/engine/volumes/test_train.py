"""Training on scans: it learns, picks its epoch, repeats itself and goes on where it stopped."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from pseudo3d.data.scans.dataset import ScanStore
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.engine.training.job import Job
from pseudo3d.engine.training.record import check
from pseudo3d.engine.volumes.evaluate import VolumeProtocol, evaluate_volumes
from pseudo3d.engine.volumes.module import Goal, VolumeTraining
from pseudo3d.engine.volumes.recipes import VolumeRecipe, volume_recipe
from pseudo3d.engine.volumes.train import RepeatedSampler, ScanParts, train_volumes
from pseudo3d.errors import ManifestError, Pseudo3dError, WeightsError
from pseudo3d.models import create_model
from pseudo3d.weights import load


def weights_of(net):
    return torch.cat([v.flatten().double() for v in net.state_dict().values()])


def test_it_learns_what_only_a_volume_shows(trained, bars, store):
    found = evaluate_volumes(
        trained[0], bars.split("test"), store=store, learned=bars.split("train")
    )
    scores = found.scores.to_dict()
    assert scores["scores"]["auc"]["value"] > 0.95
    assert {floor["name"] for floor in scores["floors"]} >= {"majority class"}


def test_the_run_says_what_was_done(trained):
    net, out = trained
    assert {p.name for p in out.iterdir()} == {
        "weights.safetensors", "metrics.csv", "run.json", "manifest.csv", "epochs",
    }  # fmt: skip
    assert check(out).whole
    assert len(read_scans(out / "manifest.csv").items) == 60
    run = json.loads((out / "run.json").read_text())
    assert run["task"] == "classify"
    assert run["preprocessing"]["kind"] == "scan"
    assert net.card.training["task"] == "classify"
    assert net.card.classes == ("0", "1")


def test_the_epoch_with_the_best_watched_score_is_kept(trained):
    net, out = trained
    with (out / "metrics.csv").open() as file:
        rows = [line.strip().split(",") for line in file]
    column = rows[0].index("val_auc")
    seen = [float(row[column]) for row in rows[1:] if row[column]]
    assert net.card.scores["val_auc"] == pytest.approx(max(seen), abs=1e-6)
    assert net.card.scores["best_epoch"] == max(i for i, v in enumerate(seen) if v == max(seen))


class Spoil(Callback):
    """Ruins the network before a given epoch is watched."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_validation_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            torch.nn.init.zeros_(pl_module.net.head.weight)


@pytest.mark.parametrize(("keep", "is_spoiled"), [("best", False), ("last", True)])
def test_a_bad_last_epoch_is_kept_only_if_asked_for(
    keep, is_spoiled, parts, store, fresh, quick, tmp_path
):
    net = fresh()
    job = Job(recipe=quick(epochs=3, keep=keep), out=tmp_path / "run")
    train_volumes(net, parts, store, job, [Spoil(2)])
    assert bool((net.head.weight == 0).all()) is is_spoiled


@pytest.mark.parametrize("ema", [0.0, 0.3])
def test_what_is_kept_scores_what_was_noted(ema, parts, store, fresh, quick, tmp_path):
    net = fresh()
    train_volumes(net, parts, store, Job(recipe=quick(ema=ema), out=tmp_path / "run"))
    again = evaluate_volumes(net, parts.val, store=store).scores.to_dict()
    noted = net.card.scores["val_auc"]
    assert again["scores"]["auc"]["value"] == pytest.approx(noted, abs=1e-6)


def test_the_same_seed_gives_the_same_weights(parts, store, fresh, quick, tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        net = fresh()
        train_volumes(
            net, parts, store, Job(recipe=quick(epochs=1), out=tmp_path / name, seed=seed)
        )
        found.append(weights_of(net))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


class Stop(Callback):
    """Ends the program after a number of batches, as Ctrl-C does."""

    def __init__(self, batches):
        self.batches = batches

    def on_train_batch_end(self, trainer, pl_module, *rest):
        if pl_module.batches == self.batches:
            raise KeyboardInterrupt


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(parts, store, fresh, quick, tmp_path):
    whole, broken = fresh(), fresh()
    train_volumes(whole, parts, store, Job(recipe=quick(ema=0.3), out=tmp_path / "whole"))
    out = tmp_path / "broken"
    job = Job(recipe=quick(ema=0.3), out=out, checkpoint_every=5)
    with pytest.raises(KeyboardInterrupt):
        train_volumes(broken, parts, store, job, [Stop(11)])
    again = fresh()
    resumed = Job(recipe=quick(ema=0.3), out=out, checkpoint_every=5, resume=True)
    train_volumes(again, parts, store, resumed)
    torch.testing.assert_close(weights_of(again), weights_of(whole), rtol=1e-4, atol=1e-5)
    assert again.card.scores["best_epoch"] == whole.card.scores["best_epoch"]


def test_a_finished_run_is_not_written_over(trained, parts, store, fresh, quick):
    with pytest.raises(Pseudo3dError, match="already holds a finished run"):
        train_volumes(fresh(), parts, store, Job(recipe=quick(), out=trained[1]))


def test_a_number_is_learned_in_its_own_units(fresh, quick, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.uniform(100, 200, 48)
    volumes = rng.normal(0, 0.2, (48, 6, 6, 6)) + (values[:, None, None, None] - 150) / 25
    np.savez(
        tmp_path / "x.npz",
        train_images=volumes[:36].astype(np.float32), train_labels=values[:36],
        test_images=volumes[36:].astype(np.float32), test_labels=values[36:],
    )  # fmt: skip
    manifest = read_scans(tmp_path / "x.npz")
    net, store = fresh(num_classes=1), ScanStore(ScanPreprocessing(size=(6, 6, 6)))
    parts = ScanParts(train=manifest.split("train"))
    train_volumes(net, parts, store, Job(recipe=quick(epochs=25), out=tmp_path / "run"))
    found = evaluate_volumes(net, manifest.split("test"), store=store).scores.to_dict()
    assert found["scores"]["mae"]["value"] < 0.5 * found["floor"]["mae"]


def test_one_class_is_not_enough(bars):
    only = bars.pick(item.label == "0" for item in bars.items)
    with pytest.raises(ManifestError, match="fewer than two classes"):
        ScanParts(train=only)


def test_an_epoch_visits_every_scan_as_often_as_asked_with_other_draws():
    draws = [d for batch in RepeatedSampler(5, 4, seed=0, times=3) for d in batch]
    assert sorted(d.item for d in draws) == sorted(list(range(5)) * 3)
    assert len(set(draws)) == 15


def test_patches_weigh_the_same_in_the_last_step_of_an_epoch(store, fresh, quick):
    sampler = RepeatedSampler(5, 4, seed=0, times=3)  # 4, 4, 4 | 3
    goal, how = Goal(classes=("0", "1")), quick(accumulate=3)
    module = VolumeTraining(fresh(), how, store.preprocessing, sampler, goal=goal, steps=9)
    weights = [module.weight() for module.batches in range(5)]
    assert weights == [1, 1, 1, 3, 1]


@pytest.mark.parametrize(
    ("task", "classes", "outputs"),
    [("classify", ("0", "1"), 3), ("regress", ("value",), 2), ("segment", ("background", "1"), 3)],
)
def test_a_head_of_another_size_is_refused_before_anything_is_written(
    task, classes, outputs, bars, store, fresh, quick, tmp_path
):
    part = replace(bars.split("train"), task=task, classes=classes)
    net = fresh(num_classes=outputs)
    if task == "segment":
        net = create_model("p3d_unet", widths=(4, 8), depths=(1, 1), strides=((1, 2, 2),),
                           num_classes=outputs)  # fmt: skip
    told = rf"gives {outputs} answers.*the data have {len(classes)} .*num_classes={len(classes)}"
    with pytest.raises(WeightsError, match=told):
        train_volumes(net, ScanParts(train=part), store, Job(recipe=quick(), out=tmp_path / "r"))
    assert not (tmp_path / "r").exists()


def test_the_caller_gets_the_card_of_the_file_and_its_random_numbers_back(
    parts, store, fresh, quick, tmp_path
):
    net = fresh()
    before = torch.get_rng_state()
    path = train_volumes(net, parts, store, Job(recipe=quick(steps=1), out=tmp_path / "run"))
    assert torch.equal(before, torch.get_rng_state())
    assert net.card == load(path).card


def test_mirrored_views_follow_the_recipe(parts, store, fresh, quick, tmp_path):
    from pseudo3d.engine.volumes.augment import VolumeAugment
    from pseudo3d.engine.volumes.ready import ready

    net = fresh()
    how = VolumeAugment(flip_depth=True, flip_height=True)
    train_volumes(net, parts, store, Job(recipe=quick(epochs=1, augment=how), out=tmp_path / "r"))
    assert set(ready(net).mirrors()) == {(), (2,), (3,), (2, 3)}
    told = evaluate_volumes(
        net, parts.val, store=store, protocol=VolumeProtocol(mirrors=True)
    ).protocol
    assert "4 views each" in told


@pytest.mark.parametrize(
    "wrong",
    [{"keep": "first"}, {"near": 2.0}, {"patches": 0}, {"margin": 0.5}, {"patience": 3},
     {"random_crop": True}, {"loss": "dise"}],
)  # fmt: skip
def test_impossible_recipes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VolumeRecipe(**wrong)


def test_unknown_recipes_and_fields_are_named():
    with pytest.raises(ValueError, match="Did you mean volume"):
        volume_recipe("volumes")
    with pytest.raises(TypeError, match="Did you mean epochs"):
        volume_recipe("volume").but(epoch=3)
