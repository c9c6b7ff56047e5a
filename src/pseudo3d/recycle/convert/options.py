"""How to convert, and which layer of a network becomes what: plain data, kept in files."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.nn.conv import Padding
from pseudo3d.recycle.convert.frames import Head, Layout

Method = Literal["p3d", "i3d", "center", "acs", "2.5d"]
Becomes = Literal["A", "B", "C", "i3d", "center", "acs", "take", "max", "mean"]
THINNINGS = ("take", "max", "mean")
METHODS: tuple[Method, ...] = ("p3d", "i3d", "center", "acs", "2.5d")


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to convert, apart from the network."""

    mix: str = "ABC"
    method: Method = "p3d"
    kernel: int = 3  # frames under a temporal kernel
    padding: Padding = "zeros"  # in time
    depth_stride: tuple[int, ...] = (1,)  # at the halvings of the image; the last one is repeated
    channels: int | None = None  # of the clips; None: those of the images
    head: Head = "mean"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise Pseudo3dError(unknown("method", str(self.method), METHODS))
        if not self.mix or set(self.mix) - set("ABC"):
            raise Pseudo3dError(
                f"mix is {self.mix!r}; wanted letters A, B, C, repeated over the network: 'ABC'"
            )
        for name, usual, without in (
            ("mix", "ABC", ("i3d", "center", "acs", "2.5d")),
            ("kernel", 3, ("acs", "2.5d")),
            ("padding", "zeros", ("2.5d",)),
        ):
            if (value := getattr(self, name)) != usual and self.method in without:
                raise Pseudo3dError(
                    f"{name}={value!r} changes nothing for method={self.method!r}; leave it out"
                )
        if self.kernel < 3 or self.kernel % 2 == 0:
            raise Pseudo3dError(f"kernel is {self.kernel}; wanted an odd number of frames above 1")
        for name, known in (("padding", ("zeros", "replicate")), ("head", ("mean", "frames"))):
            if (value := getattr(self, name)) not in known:
                raise Pseudo3dError(f"{name} is {value!r}; wanted {known[0]!r} or {known[1]!r}")
        if not self.depth_stride or min(self.depth_stride) < 1:
            raise Pseudo3dError(
                f"depth_stride is {self.depth_stride}; wanted 1 or more, or such a number for each "
                "halving of the image"
            )
        if self.channels is not None and self.channels < 1:
            raise Pseudo3dError(f"channels is {self.channels}; wanted 1 or more")


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one layer becomes."""

    name: str
    becomes: Becomes
    at: str  # the layer that the partner runs after: itself, or its norm
    stride: int = 1  # of time
    layout: Layout = "frames"


@dataclass(kw_only=True)
class Plan:
    """All steps, in order of execution, and why other layers stay as they are."""

    options: Options
    steps: list[Step] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    readers: list[str] = field(default_factory=list)  # layers that read the input itself

    @property
    def steady(self) -> bool:
        """Whether every layer sees all frames."""
        return all(step.stride == 1 for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> "Plan":
        """Back from `to_dict`, also after a way through JSON."""
        options = dict(plain["options"])
        options["depth_stride"] = tuple(options["depth_stride"])
        steps = [Step(**step) for step in plain["steps"]]
        return cls(**{**plain, "options": Options(**options), "steps": steps})
