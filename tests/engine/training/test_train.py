"""Training writes what it promises, can be killed at any step, and does what the recipe says."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.testing import assert_close

from engine.lively import LIVELY
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.dataset import Batch, EpochSampler
from pseudo3d.data.manifest import Item, Manifest, read_manifest
from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.transforms import Augment, center_crop
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.module import ClipTraining
from pseudo3d.engine.training.recipes import Recipe, recipe
from pseudo3d.engine.training.record import check
from pseudo3d.engine.training.train import plan_input, train
from pseudo3d.errors import ManifestError, Pseudo3dError, WeightsError
from pseudo3d.models import create_model
from pseudo3d.recycle.files import write_file
from pseudo3d.weights import load

PRE = Preprocessing(frames=2, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)


class Each(Callback):
    """Calls a function with (trainer, module) after every batch."""

    def __init__(self, act):
        self.act, self.batches = act, 0

    def on_train_batch_end(self, trainer, pl_module, *rest):
        self.batches += 1
        self.act(trainer, pl_module)


def rows(out):
    with (out / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


class StopRun(RuntimeError):
    """Raised by a test to end a run."""


def lively_run(listed, out, strike=None, *, resume=False, checkpoint_every=2):
    """Train with everything random that there is; gives the number of batches taken.

    5 batches an epoch make 3 optimizer steps, the last of half the batches; 3 epochs.
    """
    films = read_manifest(listed)
    parts = Parts(train=films.split("train"), val=films.split("test"))
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3)
    each = Each(lambda _, module: strike and strike(module.batches))
    job = Job(
        recipe=LIVELY, out=Path(out), seed=5, resume=resume, checkpoint_every=checkpoint_every
    )
    train(net, parts, FrameStore(resize=18, folder=Path(out).parent / "cache"), job, [each])
    return each.batches


def kill_myself_at_batch(number):
    def strike(batches):
        if batches == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def stop_at_batch(number):
    def strike(batches):
        if batches == number:
            raise StopRun

    return strike


@pytest.fixture(scope="module")
def undisturbed(listed, tmp_path_factory):
    """Folder of a run from start to end."""
    out = tmp_path_factory.mktemp("lively") / "whole"
    assert lively_run(listed, out) == 15
    return out


def check_same(whole, torn):
    ours, theirs = (load(folder / "weights.safetensors") for folder in (whole, torn))
    assert ours.card.training["steps"] == theirs.card.training["steps"] == 9
    assert ours.card.scores == theirs.card.scores
    other = theirs.state_dict()
    for name, value in ours.state_dict().items():
        assert (value - other[name]).abs().max() <= 1e-6, name
    assert (torn / "metrics.csv").read_bytes() == (whole / "metrics.csv").read_bytes()
    assert not (torn / "last.ckpt").exists()
    assert check(torn).whole
    assert check(torn).samples == 3 * 18


def test_a_killed_run_resumes_to_the_same_weights(undisturbed, listed, tmp_path):
    torn = tmp_path / "torn"
    line = [sys.executable, "-m", "engine.training.test_train", listed, torn, "9"]
    done = subprocess.run(line, cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (torn / "last.ckpt").exists()
    assert not (torn / "weights.safetensors").exists()
    # The last state is that of step 4, after 7 batches, inside the second epoch.
    assert lively_run(listed, torn, resume=True) == 15 - 7
    check_same(undisturbed, torn)


@pytest.mark.parametrize(
    ("checkpoint_every", "stop_at", "again"),
    [
        (3, 6, 10),  # the state of the end of an epoch
        (1, 3, 13),  # a batch whose gradients wait for the next one
        (1, 15, 1),  # the last batch of all
        (4, 11, 8),  # figures of an epoch that has to be repeated in part
    ],
)
def test_a_run_resumes_from_wherever_it_was_stopped(
    undisturbed, listed, tmp_path, checkpoint_every, stop_at, again
):
    torn = tmp_path / "torn"
    with pytest.raises(StopRun):
        lively_run(listed, torn, stop_at_batch(stop_at), checkpoint_every=checkpoint_every)
    assert lively_run(listed, torn, resume=True, checkpoint_every=checkpoint_every) == again
    check_same(undisturbed, torn)


@pytest.mark.parametrize(("checkpoint_every", "first"), [(2, 4), (3, 5)])
def test_a_run_may_be_stopped_twice(undisturbed, listed, tmp_path, checkpoint_every, first):
    torn = tmp_path / "torn"
    with pytest.raises(StopRun):
        lively_run(listed, torn, stop_at_batch(6), checkpoint_every=checkpoint_every)
    assert torch.load(torn / "last.ckpt", weights_only=True)["pseudo3d_batches"] == first
    how = {"resume": True, "checkpoint_every": checkpoint_every}
    with pytest.raises(StopRun):
        lively_run(listed, torn, stop_at_batch(13), **how)
    assert lively_run(listed, torn, **how) == 15 - 10  # step 6 ends the second epoch
    check_same(undisturbed, torn)


@pytest.mark.parametrize("stop_at", [4, 7])
def test_a_run_that_watches_nothing_resumes_from_the_end_of_an_epoch(
    tmp_path, parts, store, small, fresh, stop_at
):
    def stop(_, module):
        if module.batches == stop_at:
            raise StopRun

    alone = Parts(train=parts.train)
    job = Job(recipe=small.but(epochs=3), out=tmp_path / "torn", checkpoint_every=3)
    with pytest.raises(StopRun):
        train(fresh(), alone, store, job, [Each(stop)])
    train(fresh(), alone, store, replace(job, resume=True))
    train(fresh(), alone, store, replace(job, out=tmp_path / "whole"))
    for name in ("weights.safetensors", "metrics.csv"):
        torn, whole = ((tmp_path / run / name).read_bytes() for run in ("torn", "whole"))
        assert torn == whole, name


def test_gradients_that_wait_are_not_left_out_of_a_state_after_a_resumption(
    undisturbed, listed, tmp_path
):
    torn = tmp_path / "torn"
    for stop_at, resume in ((3, False), (4, True)):
        stop = stop_at_batch(stop_at)
        with pytest.raises(StopRun):
            lively_run(listed, torn, stop, resume=resume, checkpoint_every=1)
    assert lively_run(listed, torn, resume=True) == 13
    check_same(undisturbed, torn)


def test_a_full_disk_leaves_the_last_state_that_was_whole(
    undisturbed, listed, tmp_path, monkeypatch
):
    torn, writes = tmp_path / "torn", []

    def full_at_the_third(path, data):
        writes.append(path)
        if len(writes) == 3:
            raise WeightsError(f"{path} cannot be written")
        write_file(path, data)

    monkeypatch.setattr("pseudo3d.engine.training.state.write_file", full_at_the_third)
    with pytest.raises(WeightsError, match="cannot be written"):
        lively_run(listed, torn, checkpoint_every=2)
    monkeypatch.undo()
    assert torch.load(torn / "last.ckpt", weights_only=True)["global_step"] == 4
    lively_run(listed, torn, resume=True, checkpoint_every=2)
    check_same(undisturbed, torn)


def test_a_run_killed_before_its_weights_are_written_repeats_one_step(
    undisturbed, listed, tmp_path, monkeypatch
):
    def full(*args, **options):
        raise StopRun

    torn = tmp_path / "torn"
    monkeypatch.setattr("pseudo3d.engine.training.train.save", full)
    with pytest.raises(StopRun):
        lively_run(listed, torn, checkpoint_every=1)
    monkeypatch.undo()
    assert lively_run(listed, torn, resume=True, checkpoint_every=1) == 1
    check_same(undisturbed, torn)


def test_a_run_leaves_weights_lists_and_figures(trained, parts, small):
    assert {file.name for file in trained.iterdir()} == {
        "weights.safetensors",
        "manifest.csv",
        "run.json",
        "metrics.csv",
        "epochs",
    }
    assert check(trained).whole
    assert (check(trained).epochs, check(trained).samples) == (16, 16 * 18)
    net = load(trained / "weights.safetensors")
    assert not net.training
    assert net.card.classes == ("bright", "dark", "middle")
    assert net.card.preprocessing.frames == 4
    assert net.card.training["items"] == 18
    assert net.card.training["steps"] == 48
    assert net.card.training["clip_seconds"] == pytest.approx(0.85)
    assert net.card.training["longest_seconds"] == pytest.approx(0.9)
    assert net.card.scores["val_clip_hit@1"] >= 5 / 6
    run = json.loads((trained / "run.json").read_text())
    assert run["seed"] == 0
    assert run["recipe"]["batch"] == 6
    assert run["preprocessing"]["size"] == [16, 16]
    written = read_manifest(trained / "manifest.csv")
    assert {i.path.resolve() for i in written.split("train").items} == {
        i.path.resolve() for i in parts.train.items
    }
    assert len(written.split("val").items) == 6
    figures = rows(trained)
    assert {"loss", "train_clip_hit@1", "val_clip_hit@1"} <= set(figures[0])
    losses = [float(row["loss"]) for row in figures if row["loss"]]
    assert len(losses) == 16
    assert losses[-1] < 0.8 * losses[0]


def test_statistics_of_the_input_are_measured_unless_given(parts, store, small):
    found = plan_input(small, parts, store)
    assert found.mean == pytest.approx((0.49,) * 3, abs=0.06)
    assert 0.2 < found.std[0] < 0.4
    given = small.but(input={**small.input, "mean": (0.1,) * 3, "std": (1.0,) * 3})
    assert plan_input(given, parts, store).mean == (0.1,) * 3


def test_a_folder_with_a_run_is_refused(trained, parts, store, small, fresh):
    before = (trained / "weights.safetensors").stat().st_mtime_ns
    with pytest.raises(Pseudo3dError, match="holds a finished run"):
        train(fresh(), parts, store, Job(recipe=small, out=trained))
    with pytest.raises(Pseudo3dError, match=r"nothing to resume.*finished run"):
        train(fresh(), parts, store, Job(recipe=small, out=trained, resume=True))
    assert (trained / "weights.safetensors").stat().st_mtime_ns == before


def test_nothing_to_resume_is_said(tmp_path, parts, store, small, fresh):
    with pytest.raises(Pseudo3dError, match=r"nothing to resume.*no run"):
        train(fresh(), parts, store, Job(recipe=small, out=tmp_path / "x", resume=True))


def test_an_interrupted_run_goes_on_only_as_it_was_begun(tmp_path, parts, store, small, fresh):
    def stop(_, module):
        if module.batches == 4:
            raise StopRun

    job = Job(recipe=small, out=tmp_path, checkpoint_every=1)
    with pytest.raises(StopRun):
        train(fresh(), parts, store, job, [Each(stop)])
    with pytest.raises(Pseudo3dError, match="interrupted run"):
        train(fresh(), parts, store, job)
    other = replace(job, recipe=small.but(batch=3), resume=True)
    with pytest.raises(Pseudo3dError, match="another recipe"):
        train(fresh(), parts, store, other)
    train(fresh(), parts, store, replace(job, resume=True))
    assert load(tmp_path / "weights.safetensors").card.training["steps"] == 6


def test_one_class_is_not_enough(films):
    one = tuple(item for item in films.items if item.label == "dark")
    with pytest.raises(ManifestError, match="fewer than two classes"):
        Parts(train=Manifest(one, films.classes))


def test_quarantined_files_are_left_out_and_named(tmp_path, films, small, fresh, store):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    items = (*films.items[::4], Item(path=broken, label="dark"))
    own = FrameStore(resize=18, folder=store.folder)
    own.fill(items)
    parts = Parts(train=Manifest(items, films.classes))
    train(fresh(), parts, own, Job(recipe=small.but(epochs=1), out=tmp_path / "run"))
    card = load(tmp_path / "run" / "weights.safetensors").card
    assert card.training["quarantined"] == [str(broken)]
    assert card.training["items"] == 6
    assert "broken" not in (tmp_path / "run" / "manifest.csv").read_text()
    alone = Parts(train=Manifest((items[-1], replace(items[-1], label="middle")), films.classes))
    with pytest.raises(ManifestError, match="none of the 2 files"):
        train(fresh(), alone, own, Job(recipe=small, out=tmp_path / "none"))


def test_frozen_norms_keep_statistics_and_scale_except_the_first(
    tmp_path, parts, store, small, fresh
):
    net = fresh()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    before = [{k: v.clone() for k, v in norm.state_dict().items()} for norm in norms]
    frozen = small.but(epochs=1, freeze_norm=True)
    train(net, parts, store, Job(recipe=frozen, out=tmp_path))
    first, *others = [
        {key: torch.equal(old[key], norm.state_dict()[key]) for key in ("running_mean", "weight")}
        for norm, old in zip(norms, before, strict=True)
    ]
    assert first == {"running_mean": False, "weight": False}
    assert all(same == {"running_mean": True, "weight": True} for same in others)
    assert not any(p.requires_grad for norm in norms[1:] for p in norm.parameters())


def test_a_network_in_eval_mode_is_trained_in_train_mode(tmp_path, parts, store, small, fresh):
    net = fresh().eval()
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    modes = []
    each = Each(lambda *_: modes.append({m.training for m in net.modules()}))
    train(net, parts, store, Job(recipe=small, out=tmp_path), [each])
    assert modes == [{True}] * 6
    assert all(int(norm.num_batches_tracked) == 6 for norm in norms)
    assert not net.training


def test_dropout_of_the_recipe_takes_the_place_of_the_models(tmp_path, parts, store, small, fresh):
    net = fresh()
    train(net, parts, store, Job(recipe=small.but(steps=1, dropout=0.9), out=tmp_path))
    assert net.dropout.p == 0.9


def module_of(net, how, steps=10, swap=(0, 1, 2)):
    sampler = EpochSampler(18, how.batch, 0)
    return ClipTraining(net, how, PRE, sampler, steps=steps, swap=torch.tensor(swap))


def rates(module, count):
    """Learning rate of the first group at each optimizer step."""
    plan = module.configure_optimizers()
    found = []
    for _ in range(count):
        found.append(plan["optimizer"].param_groups[0]["lr"])
        plan["optimizer"].step()
        plan["lr_scheduler"]["scheduler"].step()
    assert plan["lr_scheduler"]["interval"] == "step"
    return found


def test_cosine_rises_and_falls(small, fresh):
    how = small.but(lr=1.0, warmup=0.2, schedule="cosine")
    falling = [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(8)]
    assert rates(module_of(fresh(), how), 10) == pytest.approx([0.5, 1.0, *falling])
    assert falling[4] == pytest.approx(0.5)


def test_without_warmup_the_cosine_falls_from_the_first_step(small, fresh):
    how = small.but(lr=1.0, warmup=0.0, schedule="cosine")
    falling = [0.5 * (1 + math.cos(math.pi * k / 10)) for k in range(10)]
    assert rates(module_of(fresh(), how), 10) == pytest.approx(falling)


def test_the_step_schedule_divides_by_ten(small, fresh):
    how = small.but(lr=1.0, warmup=0.0, schedule="step", step_every=3)
    wanted = [1, 1, 1, 0.1, 0.1, 0.1, 0.01]
    assert rates(module_of(fresh(), how), 7) == pytest.approx(wanted)


def test_the_head_has_its_own_rate_and_only_kernels_decay(small, fresh):
    net = fresh()
    rates = {"lr": 0.5, "head_lr": 10.0, "head_bias_lr": 2.0}
    how = small.but(**rates, weight_decay=0.01, optimizer="sgd", warmup=0.0)
    optimizer = module_of(net, how).configure_optimizers()["optimizer"]
    assert isinstance(optimizer, torch.optim.SGD)
    seen = {p: group for group in optimizer.param_groups for p in group["params"]}
    assert set(seen) == set(net.parameters())
    for name, p in net.named_parameters():
        rate = {"head.weight": 5.0, "head.bias": 10.0}.get(name, 0.5)
        assert seen[p]["lr"] == pytest.approx(rate), name
        assert seen[p]["weight_decay"] == (0.01 if p.ndim > 1 else 0.0), name


@pytest.mark.parametrize(("name", "rates"), [("ucf101", (10, 20)), ("cpu", (1, 1))])
def test_the_papers_head_learns_at_the_rates_of_the_released_files(fresh, name, rates):
    how, net = recipe(name), fresh()
    optimizer = module_of(net, how).configure_optimizers()["optimizer"]
    rate = {p: g["initial_lr"] / how.lr for g in optimizer.param_groups for p in g["params"]}
    assert (rate[net.head.weight], rate[net.head.bias]) == pytest.approx(rates)
    assert rate[next(net.stem.parameters())] == pytest.approx(1)


@pytest.mark.parametrize("most", [0.0, 0.01])
def test_gradients_are_clipped_to_their_norm(tmp_path, parts, store, small, fresh, most):
    norms = []

    def note(_, module):
        grads = [p.grad.norm() for p in module.net.parameters()]
        norms.append(float(torch.stack(grads).norm()))

    how = small.but(steps=2, clip_norm=most)
    train(fresh(), parts, store, Job(recipe=how, out=tmp_path), [Each(note)])
    assert len(norms) == 2
    assert all(norm <= 0.0101 if most else norm > 0.02 for norm in norms)


def test_a_diverging_loss_ends_the_run_and_names_the_cure(tmp_path, parts, store, small, fresh):
    net = fresh()
    nn.init.constant_(net.head.weight, math.nan)
    with pytest.raises(FloatingPointError, match=r"loss became nan.*lower the learning rate"):
        train(net, parts, store, Job(recipe=small, out=tmp_path))
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.mark.parametrize(("precision", "means"), [("bf16", "bf16-mixed"), ("fp32", "32-true")])
def test_both_precisions_train(tmp_path, parts, store, small, fresh, precision, means):
    seen = []
    how = small.but(steps=2, precision=precision)
    each = Each(lambda trainer, _: seen.append(trainer.precision))
    path = train(fresh(), parts, store, Job(recipe=how, out=tmp_path), [each])
    assert seen == [means] * 2
    assert {v.dtype for k, v in load(path).state_dict().items() if k.endswith("weight")} == {
        torch.float32
    }


def test_patience_stops_a_run_that_does_not_get_better(tmp_path, parts, store, small, fresh):
    how = small.but(epochs=6, lr=0.0, weight_decay=0.0, patience=2)
    net = fresh()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm3d):
            norm.momentum = 0.0  # nothing changes, so the score cannot
    path = train(net, parts, store, Job(recipe=how, out=tmp_path))
    assert load(path).card.training["steps"] == 3 * 3


def test_checkpointing_trains_to_the_same_weights(tmp_path, parts, store, small, fresh):
    plain, doubled = (
        load(
            train(
                fresh(),
                parts,
                store,
                Job(recipe=small.but(steps=3, checkpointing=on), out=tmp_path / f"{on}"),
            )
        )
        for on in (False, True)
    )
    assert_close(doubled.state_dict(), plain.state_dict())


def test_averaging_changes_the_weights(tmp_path, parts, store, small, fresh):
    plain, averaged = (
        train(fresh(), parts, store, Job(recipe=small.but(ema=ema), out=tmp_path / f"{ema}"))
        for ema in (0.0, 0.5)
    )
    assert not torch.equal(load(plain).head.weight, load(averaged).head.weight)


@pytest.mark.parametrize("change", [{"steps": 1}, {"epochs": 40, "patience": 1, "lr": 1e-9}])
def test_weights_are_the_trained_ones_before_any_are_averaged(
    tmp_path, parts, store, small, fresh, change
):
    plain, averaged = (
        load(train(fresh(), parts, store, Job(recipe=small.but(ema=ema, **change), out=out)))
        for ema, out in ((0.0, tmp_path / "plain"), (0.05, tmp_path / "averaged"))
    )
    assert averaged.card.training["steps"] < 120 // 10  # ended before averaging began
    assert_close(averaged.state_dict(), plain.state_dict(), rtol=0, atol=0)
    assert not torch.equal(averaged.head.weight, fresh().head.weight)


def test_the_trained_weights_are_watched_before_any_are_averaged(
    tmp_path, parts, store, small, fresh
):
    class Watched(Callback):
        def __init__(self):
            self.weights = []

        def on_validation_batch_start(self, trainer, pl_module, *rest):
            self.weights.append(pl_module.net.head.weight.clone())

    found = []
    for ema in (0.0, 0.05):
        watched, out = Watched(), tmp_path / f"{ema}"
        how = small.but(epochs=11, ema=ema)  # 33 steps: averaging begins with the fourth
        train(fresh(), parts, store, Job(recipe=how, out=out), [watched])
        found.append(watched.weights)
    plain, averaged = found
    assert torch.equal(averaged[0], plain[0])
    assert not torch.equal(averaged[-1], plain[-1])


def test_mirrored_clips_get_the_label_of_their_mirror_image(small, fresh, monkeypatch):
    how = small.but(augment=Augment(flip=True, swap={"left": "right"}))
    net = fresh()
    module = module_of(net, how, swap=how.augment.swap_labels(("clap", "left", "right")).tolist())
    seen = {}
    monkeypatch.setattr(module, "log", lambda *args, **options: None)
    net.register_forward_pre_hook(lambda _, args: seen.update(clips=args[0]))

    def entropy(logits, labels, **options):
        seen["labels"] = labels
        return logits.sum()

    monkeypatch.setattr("pseudo3d.engine.training.module.F.cross_entropy", entropy)
    clips = torch.randint(0, 256, (30, 3, 2, 18, 18), dtype=torch.uint8)
    labels = torch.arange(30) % 3
    module.training_step(Batch(clips, torch.arange(30), labels), 0)
    plain = PRE.normalize(center_crop(clips, (16, 16)))
    mirrored = [
        not torch.allclose(given, was, atol=1e-2)
        for given, was in zip(seen["clips"], plain, strict=True)
    ]
    assert 5 < sum(mirrored) < 25
    for given, was, turned in zip(seen["clips"], plain, mirrored, strict=True):
        assert_close(given, was.flip(-1) if turned else was, rtol=0, atol=1e-2)
    wanted = [(0, 2, 1)[k] if turned else k for k, turned in zip(labels, mirrored, strict=True)]
    assert seen["labels"].tolist() == [int(k) for k in wanted]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"steps": 0}, "steps is 0"),
        ({"lr": -1.0}, "lr is -1.0"),
        ({"ema": 1.0}, "ema is 1.0"),
        ({"schedule": "step"}, "step_every"),
        ({"precision": "fp64"}, "'fp64'"),
    ],
)
def test_a_recipe_refuses_impossible_values(wrong, told):
    with pytest.raises(ValueError, match=told):
        Recipe().but(**wrong)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(ValueError, match="ucf101"):
        recipe("ucf10")
    with pytest.raises(TypeError, match="epochs"):
        recipe("cpu").but(epoch=3)


if __name__ == "__main__":
    lively_run(sys.argv[1], sys.argv[2], kill_myself_at_batch(int(sys.argv[3])))
