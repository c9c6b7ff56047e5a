"""What is known before a large job: what an item costs, what the machines give, what is wanted."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from pseudo3d.errors import Pseudo3dError, unknown

Facts = TypeVar("Facts", "Costs", "Cluster")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What one item takes: a video to recognize, or a clip to train on.

    Seconds are those of one processor core; with accelerators, `network` and `block` of training
    are seconds of one accelerator.
    """

    network: float  # s: forward of all views of a video, or forward and backward of a clip
    decode: float = 0.0  # s: index, seek, decode, scale
    size: float = 0.0  # bytes read from storage
    row: float = 0.0  # bytes written for a video
    block: float = 0.0  # s beside the items: commit of a block of videos, update of the weights
    check: float = 0.0  # s that the driver looks at each block once all are done
    start: float = 0.0  # s until a process is ready for its first item
    gradient: float = 0.0  # bytes that every process exchanges at each step
    messages: float = 0.0  # short exchanges of a step; shared batch norm: two for each layer
    save: float = 0.0  # s to write a state to resume from
    decode_spread: float = 0.0  # standard deviation / mean
    network_spread: float = 0.0

    def __post_init__(self) -> None:
        _check(self)
        if self.network + self.decode <= 0:
            raise ValueError("an item costs no time; wanted seconds of decode or network above 0")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What the machines give and cost. The defaults are examples: put your own figures."""

    nodes: int = 1
    cores: int = 64  # of a node
    accelerators: int = 0  # of a node; with none, the network runs on the cores
    speed: float = 1.0  # of a core, times that of the measured one
    storage: float = 5e9  # bytes/s of the whole storage
    requests: float = 50_000.0  # reads/s that it answers
    delay: float = 0.0  # s until the first byte of a read
    link: float = 1.25e9  # bytes/s of a node's network
    bus: float = 5e9  # bytes/s at which processes of one node exchange
    latency: float = 5e-5  # s of a message from one process to another
    driver: float = 0.01  # s that the one driver spends on a block of videos
    boot: float = 0.0  # s until a node can start processes
    lifetime: float = math.inf  # hours until a node dies, on average
    price: float = 0.0  # of a node for an hour
    read_price: float = 0.0  # of a thousand reads

    def __post_init__(self) -> None:
        _check(self)
        for name in ("nodes", "cores"):
            if (value := getattr(self, name)) < 1 or value != int(value):
                raise ValueError(f"{name} is {value!r}; wanted a whole number, 1 or more")
        for name in ("speed", "storage", "requests", "link", "bus", "lifetime"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}; wanted more than 0")

    @property
    def workers(self) -> int:
        """Processes of a node that hold the network."""
        return self.accelerators or self.cores


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Recognize every video once; each process takes block after block from one driver."""

    videos: float
    costs: Costs
    block: int = 256  # videos handed out, written and committed together

    def __post_init__(self) -> None:
        if self.videos < 1 or self.block < 1:
            raise ValueError(f"{self.videos} videos, block of {self.block}; wanted 1 or more each")

    @property
    def items(self) -> float:
        """How often an item's costs are paid."""
        return self.videos

    @property
    def ending(self) -> float:
        """Seconds of the driver after the last block."""
        return math.ceil(self.videos / self.block) * self.costs.check


@dataclass(frozen=True, kw_only=True)
class Training:
    """Steps over a batch that all processes share; they wait for each other at every step."""

    clips: float  # of the whole run
    batch: int  # clips of a step, all processes together
    costs: Costs
    loaders: int = 0  # processes that decode for one that trains; 0: it decodes itself
    save_every: int = 50  # steps

    def __post_init__(self) -> None:
        if self.clips < 1 or self.batch < 1 or self.loaders < 0 or self.save_every < 1:
            raise ValueError(
                f"{self.clips} clips, batch {self.batch}, {self.loaders} loaders, saved every "
                f"{self.save_every} steps; wanted 1 or more, loaders 0 or more"
            )

    @property
    def items(self) -> float:
        """How often an item's costs are paid."""
        return self.clips

    @property
    def ending(self) -> float:
        """Seconds after the last step."""
        return self.costs.save


Job = Inference | Training


def with_facts(facts: Facts, changes: Mapping[str, Any]) -> Facts:
    """The same with other figures.

    Raises:
        TypeError: no such figure.
        ValueError: it is no number, or none that can be.
    """
    known = [field.name for field in fields(facts)]
    for name, value in changes.items():
        if name not in known:
            raise TypeError(unknown(f"figure of {type(facts).__name__.lower()}", name, known))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{name} is {value!r}; wanted a number")
    return replace(facts, **changes)


def read_costs(found: Any) -> Costs:
    """Costs out of JSON.

    Raises:
        Pseudo3dError: that is something else.
    """
    if not isinstance(found, dict) or "network" not in found:
        raise Pseudo3dError("no figures of costs: wanted an object with `network` and others")
    try:
        return with_facts(Costs(network=1.0), found)
    except (TypeError, ValueError) as err:
        raise Pseudo3dError(f"no figures of costs: {err}") from err


def _check(facts: Costs | Cluster) -> None:
    for name, value in asdict(facts).items():
        if math.isnan(value) or value < 0:
            raise ValueError(f"{name} is {value!r}; wanted 0 or more")
