"""The engine of a cluster: Ray Data hands partitions to actors; little else goes over its wire.

Each actor is a worker with its process. Ray restarts actors and repeats tasks of machines that are
lost; a partition that was done before is not done again, and what is missing in the end, `run`
gives out once more.
"""

import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from tempfile import TemporaryDirectory
from typing import Any

from pseudo3d.cluster.worker import Note, Ticket, Worker
from pseudo3d.errors import Pseudo3dError, require

_BLOCKS = 4096  # of partition numbers, at most
_HOME = "127.0.0.1"


class _Actor:
    """A worker on some machine."""

    def __init__(self, ticket: dict[str, Any]) -> None:
        self.worker = Worker(Ticket(**ticket))

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        told = []
        for part in batch["part"]:
            try:
                told.append(json.dumps(self.worker.do(int(part))))
            except (Pseudo3dError, OSError, ImportError) as err:  # not of one video: the run ends
                told.append(json.dumps({"fault": str(err)}))
        return {"note": told}


class Ray:
    """Actors of one processor each, spread over the machines of a cluster (as Ray Data does).

    Args:
        address: "auto" (a cluster this machine belongs to), HOST:PORT, or "local": one that lasts
            as long as the run, on this machine alone.
        workers: actors; None takes all processors of the cluster.
    """

    def __init__(self, address: str = "auto", workers: int | None = None) -> None:
        self.address, self.wanted = address, workers
        self._ours = False  # the connection
        self._folder: TemporaryDirectory[str] | None = None  # of a cluster that is ours

    @property
    def workers(self) -> int:
        """Actors there may be."""
        return self.wanted or int(self._connected().cluster_resources().get("CPU", 1))

    def run(
        self,
        ticket: Ticket,
        parts: Sequence[int],
        heard: Callable[[Note], None],
        seen: Callable[[int], None],
    ) -> None:
        """Do partitions in any order; `heard` is told of each that is done."""
        workers, ray = self.workers, self._connected()
        pa, data = require("pyarrow", "cluster"), require("ray.data", "cluster")
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # what it plans, how it goes
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # of lost machines; `run` sees what is missing
        size = -(-len(parts) // _BLOCKS)
        blocks = [pa.table({"part": list(parts[i : i + size])}) for i in range(0, len(parts), size)]
        done = data.from_arrow(blocks).map_batches(
            _Actor,
            fn_constructor_kwargs={"ticket": asdict(ticket)},
            batch_size=1,
            num_cpus=1,
            compute=data.ActorPoolStrategy(
                size=min(workers, len(blocks)), max_tasks_in_flight_per_actor=2
            ),
        )
        try:
            for row in done.iter_rows():
                note = json.loads(row["note"])
                if "fault" in note:
                    raise Pseudo3dError(note["fault"])
                seen(note["rows"])
                heard(note)
        except ray.exceptions.RayError as err:
            raise Lost(str(err).partition("\n")[0]) from err

    def _connected(self) -> Any:
        ray = _import(self.address)
        if ray.is_initialized():
            return ray
        alone: dict[str, Any] = {}
        if self.address == "local":
            self._folder = TemporaryDirectory(prefix="p3d-ray-", ignore_cleanup_errors=True)
            alone = {"include_dashboard": False, "num_cpus": self.wanted, "_node_ip_address": _HOME}
            alone["_temp_dir"] = self._folder.name
        try:
            ray.init(address=self.address, log_to_driver=False, logging_level="error", **alone)
        except (ConnectionError, RuntimeError, ValueError) as err:
            raise Pseudo3dError(
                f"no Ray cluster at {self.address!r}: {str(err).partition(chr(10))[0]}; start one "
                "with `ray start --head`, give --address HOST:PORT, or --address local for one on "
                "this machine"
            ) from err
        self._ours = True
        return ray

    def close(self) -> None:
        """Leave the cluster, or end it where it was begun here."""
        if self._ours:
            require("ray", "cluster").shutdown()
            self._ours = False
        if self._folder is not None:
            self._folder.cleanup()


class Lost(Exception):
    """Ray gave up, for instance with a machine; what is done is kept."""


def _import(address: str) -> Any:
    """Ray, which tells nobody that it runs, and by itself opens no port to other machines."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address == "local":  # else Ray takes the address that other machines know
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    return require("ray", "cluster")
