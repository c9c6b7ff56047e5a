"""What a conversion did, and whether the network still is its 2-D self."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from pseudo3d.recycle.convert.options import Plan
from pseudo3d.recycle.foreign.kinds import shorten


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Difference from the 2-D network on random clips, relative to its greatest answer.

    The 2-D network sees one frame at a time; a clip's answer is the mean over its frames, a map's
    that of every frame.
    """

    lengths: tuple[int, ...]  # frames of the clips
    error: float  # greatest of all lengths, in the network's own precision
    error64: float | None  # the same in float64; None: the network does not run in it
    still: float  # on clips that repeat one frame
    limit: float
    limit64: float = 1e-9
    why_not: str = ""  # where it differs: the cause, if one was found

    @property
    def exact(self) -> bool:
        """Whether the converted network starts as the 2-D network."""
        return self.error <= self.limit and (self.error64 is None or self.error64 <= self.limit64)

    def __str__(self) -> str:
        spans = ", ".join(map(str, self.lengths))
        double = "" if self.error64 is None else f", {self.error64:.1e} in float64"
        if self.exact:
            return f"equals the 2-D network on clips of {spans} frames to {self.error:.1e}{double}"
        still = "equal" if self.still <= self.limit else f"off by {self.still:.1e}"
        cause = f": {self.why_not}" if self.why_not else ""
        return (
            f"does not start as the 2-D network: off by {self.error:.1e}{double} on random clips "
            f"of {spans} frames, {still} on still ones{cause}"
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """What became of a 2-D network."""

    network: str
    plan: Plan
    layers: dict[str, str]  # converted layer -> what it has become
    parameters_2d: int
    parameters: int
    image_channels: int = 3  # of the images the 2-D network takes
    image_size: tuple[int, int] = (0, 0)  # on which it was watched
    channels: str = ""  # what was done to the first layer, in words
    proof: Proof | None = None  # None: not asked for

    @property
    def exact(self) -> bool:
        """Whether equality with the 2-D network was measured and found."""
        return self.proof is not None and self.proof.exact

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        plain = asdict(self)
        plain["plan"] = self.plan.to_dict()
        if self.proof is not None:
            plain["proof"]["exact"] = self.proof.exact
        return plain

    def __str__(self) -> str:
        options, plan = self.plan.options, self.plan
        kinds = Counter(s.becomes for s in plan.steps)
        mix = f", mix {options.mix}" if options.method == "p3d" else ""
        lines = [f"{self.network} for clips: {options.method}{mix}"]
        told = ", ".join(f"{kind} {number}" for kind, number in sorted(kinds.items())) or "nothing"
        lines.append(f"  converted: {len(self.layers)} layers ({told})")
        for why in dict.fromkeys(plan.kept.values()):
            names = [name or "the network itself" for name in plan.kept if plan.kept[name] == why]
            lines.append(f"  kept: {len(names)} ({why}): {shorten(names)}")
        lines += [f"  note: {text}" for text in plan.notes]
        if self.channels:
            lines.append(f"  input: {self.channels}")
        ratio = self.parameters / max(self.parameters_2d, 1)
        lines.append(
            f"  parameters: {self.parameters:,}, {ratio:.2f} times the 2-D network's "
            f"{self.parameters_2d:,}"
        )
        lines.append(f"  start: {self.proof if self.proof is not None else 'not measured'}")
        return "\n".join(lines)
