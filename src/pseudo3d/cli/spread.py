"""Several processes under one command: options, starting them, and one voice."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pseudo3d.data.cache import FrameStore
    from pseudo3d.engine.training.distributed import Spread, World

Strategy = Annotated[
    str, typer.Option(help="auto, ddp, or fsdp: every process holds a part of the weights.")
]
Devices = Annotated[
    int | None,
    typer.Option(min=1, help="Processes on this machine, a GPU each; torchrun and srun say it."),
]
Nodes = Annotated[
    int | None, typer.Option(min=1, help="Machines that must take part; torchrun starts them.")
]
SyncNorm = Annotated[
    bool, typer.Option(help="Batch norm over all processes, as in one; else over each by itself.")
]
_ENTRY = "from pseudo3d.cli.main import main; main()"


def start_processes(spread: "Spread") -> bool:
    """Run this very command in `spread.devices` processes, if it is not one of them already.

    Raises:
        SystemExit: one of them failed; its code is passed on.
    """
    from pseudo3d.engine.training.distributed import find_world

    count = spread.devices or 1
    if count == 1 or spread.nodes not in (None, 1) or find_world().environment is not None:
        return False
    import logging

    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # nothing leaves this machine
    try:
        elastic_launch(_here(count), sys.executable)("-c", _ENTRY, *sys.argv[1:])
    except ChildFailedError as err:
        code = err.get_first_failure()[1].exitcode
        if code < 0:
            sys.stderr.write(
                f"error: a process was ended by signal {-code}; the same command goes on from the "
                "last state\n"
            )
        raise SystemExit(max(code, 1)) from None
    except SignalException as stop:
        raise SystemExit(128 + stop.sigval) from None
    return True


def _here(count: int) -> Any:
    """So many processes on this machine, which end together."""
    from uuid import uuid4

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    return LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="127.0.0.1",
        max_restarts=0,
        monitor_interval=0.1,
        logs_specs=DefaultLogsSpecs(),
    )


@contextmanager
def one_voice(world: "World") -> Iterator[None]:
    """Let process 0 alone print and tell of an interruption; errors of any process are shown."""
    if world.first:
        yield
        return
    with Path(os.devnull).open("w") as nowhere:
        try:
            with redirect_stdout(nowhere), redirect_stderr(nowhere):
                yield
        except KeyboardInterrupt:
            raise SystemExit(1) from None


def store_of_first(world: "World", make: Callable[[], "FrameStore"]) -> "FrameStore":
    """A store of frames that process 0 makes and fills; the others read what it has decoded."""
    import json

    from pseudo3d.data.cache import FrameStore
    from pseudo3d.engine.training.distributed import first_alone, told

    if world.ranks == 1:
        return make()
    store: FrameStore | None = None
    with first_alone(world):
        if world.first:
            store = make()

    def about() -> str:
        if store is None:
            return ""
        bad = {str(path): why for path, why in store.quarantined.items()}
        folder = None if store.folder is None else str(store.folder)
        return json.dumps([store.resize, store.gray, folder, bad])

    resize, gray, folder, bad = json.loads(told(world, about))
    if store is not None:
        return store
    return FrameStore(
        resize=resize,
        gray=gray,
        folder=None if folder is None else Path(folder),
        quarantined={Path(path): why for path, why in bad.items()},
    )


def finished_before(out: Path, world: "World") -> bool:
    """Whether torchrun starts a run again that had only to end: its weights are written."""
    from pseudo3d.engine.training.train import WEIGHTS
    from pseudo3d.engine.training.trainer import LAST

    return world.restarts > 0 and (out / WEIGHTS).exists() and not (out / LAST).exists()
