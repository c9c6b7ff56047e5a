"""Two processes take the steps of one; what they leave behind goes on in one.

The test is process 0; process 1 is this file, run as a script, so that one start serves all.
"""

import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.testing import assert_close

from engine.lively import LIVELY
from pseudo3d.data.cache import FrameStore
from pseudo3d.data.manifest import read_manifest
from pseudo3d.data.share import share_of
from pseudo3d.engine.training import record
from pseudo3d.engine.training.distributed import (
    Spread,
    World,
    _meeting_point,
    find_world,
    joined,
    told,
)
from pseudo3d.engine.training.job import Job, Parts
from pseudo3d.engine.training.loaders import check_batch
from pseudo3d.engine.training.train import taking_part, train
from pseudo3d.engine.volumes.losses import mask_loss
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.nn.syncnorm import place, synchronized
from pseudo3d.weights import load

SHARDED = LIVELY.but(ema=0.0, steps=4)


class StopRun(RuntimeError):
    """Ends a run."""


class Losses(Callback):
    """Keeps the loss of every batch, and stops a run before the given one."""

    def __init__(self, stop=None):
        self.found, self.stop = [], stop

    def on_train_batch_end(self, trainer, pl_module, outputs, *rest):
        found = outputs["loss"].detach().clone()
        self.found.append(float(trainer.strategy.reduce(found, reduce_op="mean")))
        if pl_module.batches == self.stop:
            raise StopRun


def check_alike(ours, theirs):
    """The weights of two runs that differ by rounding alone.

    AdamW divides each gradient by its own size, so rounding moves the few weights whose gradient
    is nearly zero as far as any other, and batch norm over a single clip makes more of it: the
    mean over a tensor is compared, not its elements.
    """
    ours, theirs = ours.state_dict(), theirs.state_dict()
    assert ours.keys() == theirs.keys()
    for name, want in theirs.items():
        error, size = ((x**2).double().mean().sqrt() for x in (ours[name] - want, want))
        assert error <= 3e-3 + 3e-3 * size, name  # a run moves weights by 0.05


def run(listed, out, recipe=LIVELY, *, strategy="auto", stop=None, resume=False):
    """Train on 17 videos: of batches of 4, the last one is a single clip."""
    films = read_manifest(listed)
    part = films.split("train")
    parts = Parts(train=replace(part, items=part.items[1:]), val=films.split("test"))
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=3)
    losses = Losses(stop)
    out = Path(out)
    job = Job(
        recipe=recipe,
        out=out,
        seed=5,
        resume=resume,
        checkpoint_every=2,
        spread=Spread(strategy=strategy),
    )
    with suppress(StopRun):
        train(net, parts, FrameStore(resize=18, folder=out.parent / "cache"), job, [losses])
    return losses.found, net


def check_layers(rows, rank):
    """Norm, dropout and overlap of shared rows are those of all of them in one place."""
    share, rng = share_of(rows, rank, 2), torch.Generator().manual_seed(rows)
    x = torch.randn(rows, 4, 2, 3, 3, generator=rng, dtype=torch.float64) * 3 + 50
    wish = torch.randn(x.shape, generator=rng, dtype=torch.float64)
    whole = nn.Sequential(nn.BatchNorm3d(4), nn.Dropout(0.4)).double()
    nn.init.uniform_(whole[0].weight, generator=rng)
    part = deepcopy(whole)
    all_rows, own_rows = x.clone().requires_grad_(), x.clone().requires_grad_()
    torch.manual_seed(3)
    y = whole(all_rows)
    (y * wish).sum().backward()
    torch.manual_seed(3)
    with synchronized(part, norms=True):
        place(part, share.start, share.of)
        found = part(own_rows[share.start : share.stop])
        (found * share.take(wish)).sum().backward()
    assert_close(found, share.take(y))
    assert_close(share.take(own_rows.grad), share.take(all_rows.grad))
    for ours, theirs in zip(part.parameters(), whole.parameters(), strict=True):
        dist.all_reduce(ours.grad)
        assert_close(ours.grad, theirs.grad)
    assert_close(part.state_dict(), whole.state_dict())


def check_mask_loss(kind, rows, rank):
    """The mean of the processes' losses and gradients is that of the whole batch."""
    share, rng = share_of(rows, rank, 2), torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, 3, 2, 4, 4, generator=rng)
    masks = torch.randint(3, (rows, 2, 4, 4), generator=rng)
    whole, own = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    wanted = mask_loss(whole, masks, kind, 0.1)
    wanted.backward()
    found = mask_loss(own[share.start : share.stop], share.take(masks), kind, 0.1, share)
    found.backward()
    mean = torch.cat([found.detach()[None], own.grad.flatten()])
    dist.all_reduce(mean)
    assert_close(mean / 2, torch.cat([wanted.detach()[None], whole.grad.flatten()]))


def together(listed, home):
    """What both processes do: a run that is stopped inside its second epoch, and a sharded one."""
    with joined() as world:
        for rows in (5, 1):
            check_layers(rows, world.rank)
            for kind in ("dice_ce", "tversky_focal"):
                check_mask_loss(kind, rows, world.rank)
        assert told(world, lambda: "\u00e4 1" if world.first else "?") == "\u00e4 1"
        losses, net = run(listed, home / "torn", stop=9)
        sharded, parted = run(listed, home / "sharded", SHARDED, strategy="fsdp")
        assert parted.card == load(home / "sharded" / "weights.safetensors").card
    return losses, net, sharded


@contextmanager
def second_process(listed, home, monkeypatch):
    """Makes this process the first of two, and starts the other one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
    }
    for name, value in {**shared, "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    other = subprocess.Popen(
        [sys.executable, "-m", "engine.training.test_distributed", listed, home],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "RANK": "1", "LOCAL_RANK": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield
        assert other.wait(60) == 0
    finally:
        other.kill()
        told = other.communicate()[1]
        sys.stderr.write(told)


@pytest.fixture(scope="module")
def pair(listed, tmp_path_factory):
    """Losses, network and sharded losses of process 0 of two, and their folder."""
    home = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch, second_process(listed, home, patch):
        found = together(listed, home)
    return *found, home


@pytest.fixture(scope="module")
def alone(listed, pair):
    """The same run in one process."""
    losses, _ = run(listed, pair[-1] / "alone")
    return losses, pair[-1] / "alone"


def test_two_processes_see_the_losses_of_one(pair, alone):
    assert len(pair[0]) == 9
    assert_close(pair[0], alone[0][:9], rtol=1e-2, atol=0)


def test_a_run_goes_on_with_another_number_of_processes(pair, alone, listed):
    torn = pair[-1] / "torn"
    assert (torn / "last.ckpt").exists()
    losses, _ = run(listed, torn, resume=True)
    assert_close(losses, alone[0][-len(losses) :], rtol=1e-2, atol=0)
    ours, theirs = (load(out / "weights.safetensors") for out in (torn, alone[1]))
    check_alike(ours, theirs)
    assert ours.card.scores == theirs.card.scores
    counts = record.check(torn)
    assert counts.whole
    assert (counts.processes, counts.epochs, counts.samples) == (2, 3, 3 * 17)
    assert record.check(alone[1]).whole


def test_layers_become_what_they_were(pair):
    kinds = {type(m) for m in pair[1].modules()}
    assert {nn.BatchNorm3d, nn.Dropout} <= kinds


def test_sharded_weights_train_alike_and_load_in_one_process(pair, listed):
    losses, _ = run(listed, pair[-1] / "plain", SHARDED)
    assert_close(pair[2], losses, rtol=1e-2, atol=0)
    ours, theirs = (load(pair[-1] / name / "weights.safetensors") for name in ("sharded", "plain"))
    check_alike(ours, theirs)


TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x",
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "TORCHELASTIC_RESTART_COUNT": "2",
}
SRUN = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NAME": "train",
}


@pytest.mark.parametrize(("env", "restarts"), [(TORCHRUN, 2), (SRUN, 0)])
def test_torchrun_and_slurm_say_who_takes_part(monkeypatch, env, restarts):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    world = find_world()
    assert (world.rank, world.ranks, world.local_rank, world.local_ranks) == (3, 4, 1, 2)
    assert world.restarts == restarts
    assert not world.first
    assert find_world(Spread(devices=2, nodes=2, strategy="fsdp")).ranks == 4
    with pytest.raises(Pseudo3dError, match=r"nodes is 3, and 2 take part.*torchrun"):
        find_world(Spread(nodes=3))
    with pytest.raises(Pseudo3dError, match="devices is 4, and 2 take part"):
        find_world(Spread(devices=4))


def test_without_either_a_process_is_alone():
    assert find_world() == World()
    with joined() as world:
        assert world.first
        assert not dist.is_initialized()
        assert told(world, lambda: "alone") == "alone"
    with pytest.raises(Pseudo3dError, match="'ddp' and there is one process"):
        find_world(Spread(strategy="ddp"))


def test_processes_that_are_started_again_do_not_meet_the_dead(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    server = dist.TCPStore("127.0.0.1", 0, None, True, wait_for_workers=False)

    def meet(rank):
        return _meeting_point(World(rank=rank, ranks=3), "127.0.0.1", server.port)

    def leave(store, rank):
        store.set(f"address {rank}", "here")
        return store

    with ThreadPoolExecutor(3) as pool:
        first = [pool.submit(meet, rank) for rank in range(3)]
        dead = [leave(found.result(20), rank) for rank, found in enumerate(first)]
        assert dead[2].get("address 0") == b"here"
        late = [pool.submit(meet, rank) for rank in (1, 2)]
        time.sleep(0.3)  # they see the name of the first start only
        assert not any(found.done() for found in late)
        again = [meet(0), *(found.result(20) for found in late)]
    for store in again:
        assert not store.check(["address 0"])
    again[1].set("word", "new")
    assert again[2].get("word") == b"new"


def test_averages_and_sharded_weights_do_not_go_together(tmp_path, monkeypatch):
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    job = Job(recipe=LIVELY, out=tmp_path / "x", spread=Spread(strategy="fsdp"))
    with pytest.raises(Pseudo3dError, match=r"ema is 0\.5.*--set ema=0"), taking_part(job):
        pass
    assert not (tmp_path / "x").exists()


def test_a_batch_must_have_a_clip_for_every_process():
    check_batch(4, World(ranks=4))
    with pytest.raises(Pseudo3dError, match="batch is 3, which 4 processes share"):
        check_batch(3, World(ranks=4))


def test_impossible_spreads_are_refused():
    with pytest.raises(Pseudo3dError, match="strategy is 'dp'"):
        Spread(strategy="dp")
    with pytest.raises(Pseudo3dError, match="nodes is 0"):
        Spread(nodes=0)


if __name__ == "__main__":
    together(Path(sys.argv[1]), Path(sys.argv[2]))
