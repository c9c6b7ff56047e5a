"""What became of a network's convolutions, and what it brought."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pseudo3d.nn.factor import Order
from pseudo3d.recycle.factorize.costs import Speed

Change = tuple[float, float]  # before, after


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution that is a pair now."""

    name: str
    kernel: tuple[int, ...]
    channels: tuple[int, int]  # in, out
    order: Order  # the half that runs first
    rank: int  # channels between the halves
    full: int  # rank that would lose nothing
    error: float  # share lost of the kernel's energy; with clips, of its answers' to them
    parameters: tuple[int, int]
    macs: tuple[int, int] | None
    seconds: Change | None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `factorize` did; figures before and after, of one clip."""

    layers: tuple[Layer, ...]
    parameters: tuple[int, int]
    macs: tuple[int, int] | None  # of convolutions and linear layers
    speed: Speed | None
    fused: bool  # timed as `optimize` runs it, else as it is
    clip: tuple[int, ...] | None  # shape of the clip
    output_error: float | None  # relative difference of the outputs for that clip
    kept: dict[str, str] = field(default_factory=dict)  # convolutions as they were, and why
    samples: int = 0  # clips the pairs were fitted to; 0: to the kernels alone
    refitted: tuple[str, ...] = ()  # layers whose second half was moved to the net's own answers
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join([*self._table(), *self._totals()])

    def _table(self) -> list[str]:
        head = ["layer", "kernel", "channels", "first", "rank", "lost", "parameters"]
        timed = all(layer.seconds for layer in self.layers)
        counted = all(layer.macs for layer in self.layers)
        head += ["MACs"] * counted + ["ms"] * timed
        lines = ["\t".join(head)]
        for layer in self.layers:
            row = [
                layer.name or "(the network)",
                "x".join(map(str, layer.kernel)),
                f"{layer.channels[0]}-{layer.channels[1]}",
                layer.order,
                f"{layer.rank}/{layer.full}",
                f"{layer.error:.1%}",
                _arrow(layer.parameters, 1e-3, "k"),
            ]
            row += [_arrow(layer.macs, 1e-6, "M")] if counted and layer.macs else []
            row += [_arrow(layer.seconds, 1e3, "")] if timed and layer.seconds else []
            lines.append("\t".join(row))
        return lines

    def _totals(self) -> list[str]:
        lines = [f"parameters\t{_arrow(self.parameters, 1e-6, ' M')}"]
        if self.macs:
            lines.append(f"MACs\t{_arrow(self.macs, 1e-9, ' G')}")
        if self.speed:
            how = "optimized" if self.fused else "as it is"
            ms = _arrow((self.speed.before, self.speed.after), 1e3, " ms")
            lines.append(f"speed\t{self.speed.ratio:.2f}x, {ms} per clip, {how}")
        if self.output_error is not None:
            lines.append(f"outputs\tdiffer by {self.output_error:.1e} relative")
        reasons: dict[str, list[str]] = {}
        for name, why in self.kept.items():
            reasons.setdefault(why, []).append(name)
        for why, names in reasons.items():
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            lines.append(f"kept\t{len(names)}: {why} ({shown})")
        return [*lines, *(f"note\t{note}" for note in self.notes)]


def _arrow(values: tuple[float, float], scale: float, unit: str) -> str:
    before, after = (f"{scale * v:.3g}" if scale * v < 100 else f"{scale * v:.0f}" for v in values)
    return f"{before} -> {after}{unit}"
