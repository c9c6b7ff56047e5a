"""A run over several processes and machines: who takes part, who goes first, how weights are held.

The processes are started by torchrun, by SLURM's srun, or by `p3d train --devices`; Lightning's own
plugins recognize the first two. Process 0 alone writes into the run's folder and prints.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal, cast, get_args
from uuid import uuid4

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor
from torch.distributed.distributed_c10d import PrefixStore, Store

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.models.network import Network

MEETING = timedelta(minutes=15)  # for all processes to have started
Way = Literal["auto", "ddp", "fsdp"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How a run is spread over processes.

    Raises:
        Pseudo3dError: no such strategy, or less than one process.
    """

    strategy: Way = "auto"  # auto: one process alone, ddp with several
    devices: int | None = None  # processes on each machine; None: as many as were started
    nodes: int | None = None  # machines; None: as many as take part
    sync_norm: bool = True  # batch norm sees the whole batch, as in one process

    def __post_init__(self) -> None:
        if self.strategy not in get_args(Way):
            raise Pseudo3dError(
                f"strategy is {self.strategy!r}; wanted one of {', '.join(get_args(Way))}"
            )
        for name in ("devices", "nodes"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise Pseudo3dError(f"{name} is {value!r}; wanted 1 or more")


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those of the run."""

    rank: int = 0
    ranks: int = 1
    local_rank: int = 0
    local_ranks: int = 1  # processes on this machine
    environment: ClusterEnvironment | None = None
    restarts: int = 0  # how often torchrun has started the processes again

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0


def find_world(spread: Spread | None = None) -> World:
    """Who takes part, by what torchrun or SLURM say.

    Raises:
        Pseudo3dError: other numbers of processes or machines than were asked for.
    """
    spread, env = spread or Spread(), os.environ
    if TorchElasticEnvironment.detect():
        torchrun = TorchElasticEnvironment()
        world = World(
            rank=torchrun.global_rank(),
            ranks=torchrun.world_size(),
            local_rank=torchrun.local_rank(),
            local_ranks=int(env.get("LOCAL_WORLD_SIZE", "1")),
            environment=torchrun,
            restarts=int(env.get("TORCHELASTIC_RESTART_COUNT", "0")),
        )
    elif "SLURM_PROCID" in env and SLURMEnvironment.detect():
        slurm = _slurm()
        world = World(
            rank=slurm.global_rank(),
            ranks=slurm.world_size(),
            local_rank=slurm.local_rank(),
            local_ranks=max(1, slurm.world_size() // int(env.get("SLURM_NNODES", "1"))),
            environment=slurm,
        )
    else:
        world = World()
    _check(spread, world)
    return world


def _slurm() -> SLURMEnvironment:
    try:
        return SLURMEnvironment(auto_requeue=False)  # the same command again goes on by itself
    except RuntimeError as err:  # Lightning's word on the job's script
        raise Pseudo3dError(str(err)) from err


def _check(spread: Spread, world: World) -> None:
    nodes = world.ranks // world.local_ranks
    if nodes * world.local_ranks != world.ranks:
        raise Pseudo3dError(
            f"{world.ranks} processes, {world.local_ranks} of them on this machine; wanted the "
            "same number on every machine"
        )
    for name, asked, found in (
        ("devices", spread.devices, world.local_ranks),
        ("nodes", spread.nodes, nodes),
    ):
        if asked not in (None, found):
            raise Pseudo3dError(
                f"{name} is {asked}, and {found} take part; start the processes with torchrun or "
                "srun: `torchrun --nnodes NODES --nproc-per-node DEVICES --rdzv-backend c10d "
                "--rdzv-endpoint HOST:29500 --no-python p3d train ...` on every machine"
            )
    if spread.strategy != "auto" and world.ranks == 1:
        raise Pseudo3dError(
            f"strategy is {spread.strategy!r} and there is one process; give --devices 2 or more, "
            "or start the command with torchrun"
        )


@contextmanager
def joined(spread: Spread | None = None) -> Iterator[World]:
    """Be one of the run's processes, connected to the others; calls may be nested.

    Raises:
        Pseudo3dError: as `find_world`.
    """
    world = find_world(spread)
    if world.environment is None or world.ranks == 1 or dist.is_initialized():
        yield world
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(world.local_rank)
    place = world.environment.main_address, world.environment.main_port
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=_meeting_point(world, *place),
        rank=world.rank,
        world_size=world.ranks,
        timeout=timedelta(days=7),  # decoding takes process 0 long; a dead process is noticed
    )
    try:
        yield world
    except RuntimeError as err:
        if not isinstance(err, dist.DistError) and "gloo" not in str(err):
            raise
        raise Pseudo3dError(
            f"process {world.rank} of {world.ranks} lost the others ({str(err)[:200]}); one of "
            "them ended. The same command goes on from the last state"
        ) from err
    finally:
        dist.destroy_process_group()


def _meeting_point(world: World, host: str, port: int) -> Store:
    """A store that holds nothing of an earlier start of the processes.

    torchrun keeps one store over all its restarts, and gloo would find the addresses of processes
    that are dead there. So process 0 names the start, the others answer with names of their own,
    and who is among the answers it has got knows that the name is no old one.
    """
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # by torchrun
    own = uuid4().hex
    serves = world.first and not hosted
    tcp = cast(Any, dist).TCPStore
    store: Store = tcp(host, port, None, serves, MEETING, wait_for_workers=False)
    if world.first:
        store.set("pseudo3d", own)
        others = [store.get(f"{own}/{rank}").decode() for rank in range(1, world.ranks)]
        store.set(f"{own}/all", " ".join(others))
        return PrefixStore(own, store)
    end = time.monotonic() + MEETING.total_seconds()
    while time.monotonic() < end:
        start = store.get("pseudo3d").decode()
        store.set(f"{start}/{world.rank}", own)
        time.sleep(0.05)
        if store.check([f"{start}/all"]) and own in store.get(f"{start}/all").decode().split():
            return PrefixStore(start, store)
    raise Pseudo3dError(f"process {world.rank}: process 0 did not come within {MEETING}")


@contextmanager
def first_alone(world: World) -> Iterator[None]:
    """Process 0 does the block before the others, who find its files; if it fails, they leave."""
    if world.ranks == 1:
        yield
        return
    done = torch.zeros(1, dtype=torch.int64)
    if not world.first:
        dist.broadcast(done, 0)
        if not int(done):
            raise SystemExit(1)
        yield
        return
    try:
        yield
        done += 1
    finally:
        dist.broadcast(done, 0)


def told(world: World, text: Callable[[], str]) -> str:
    """What process 0 finds, in every process."""
    if world.ranks == 1:
        return text()
    found = torch.tensor(list(text().encode()) if world.first else [], dtype=torch.uint8)
    length = torch.tensor([len(found)])
    dist.broadcast(length, 0)
    if not world.first:
        found = torch.empty(int(length), dtype=torch.uint8)
    dist.broadcast(found, 0)
    return bytes(found.tolist()).decode()


def summed(here: Tensor, ranks: int) -> Tensor:
    """The sum over the processes; its gradient is right where theirs are averaged."""
    if ranks == 1:
        return here
    total = here.detach().clone()
    dist.all_reduce(total)
    mine = here * ranks
    return mine + (total - mine.detach())


def strategy_of(spread: Spread, world: World) -> Strategy | Literal["auto"]:
    """Lightning's part of it."""
    if world.ranks == 1:
        return "auto"
    if spread.strategy == "fsdp":
        return ModelParallelStrategy(
            data_parallel_size=world.ranks,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,  # one file, as of one process
        )
    return DDPStrategy()


def shard(net: Network, mesh: Any) -> None:
    """Spread the weights over the processes of a device mesh, block by block (FSDP)."""
    from torch.distributed.fsdp import fully_shard

    cast(Any, net).to(memory_format=torch.contiguous_format)  # all that can be cut
    for stage in net.stages:
        for block in stage.children():
            fully_shard(block, mesh=mesh)
    fully_shard(net, mesh=mesh)


def whole(net: Network) -> Network:
    """The network with all its weights, in process 0; of one that is not sharded, itself."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
    from torch.distributed.fsdp import FSDPModule

    if not isinstance(net, FSDPModule):
        return net
    how = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(net, options=how)
    plain = create_model(net.name, **asdict(net.cfg))
    if weights:  # only process 0 is given them
        plain.load_state_dict(weights)
    return plain


class EndAtOnce(Callback):
    """Lets SIGTERM end one of several processes as the system does.

    Lightning would first tell the others, which waits forever where one of them is dead, and
    torchrun sends the signal just then. Nothing is lost: states are written whole or not at all.
    """

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
