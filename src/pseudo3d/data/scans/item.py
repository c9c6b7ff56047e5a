"""One scan and what is known of it."""

from dataclasses import dataclass
from pathlib import Path

from pseudo3d.data.item import Item


@dataclass(frozen=True, kw_only=True)
class ScanItem(Item):
    """One scan and what is known of it; `label` is empty where the task is no classification."""

    mask: Path | None = None
    value: float | None = None
    array: str | None = None  # npz: name of the stack that holds the volume
    index: int | None = None  # its number in the stack, or along the fourth axis of a file

    @property
    def name(self) -> str:
        """The file, and where in it."""
        inside = "".join(f"[{part}]" for part in (self.array, self.index) if part is not None)
        return f"{self.path}{inside if self.index is not None else ''}"

    @property
    def whole(self) -> str:
        """A named stack holds independent scans; volumes along a fourth axis are of one patient."""
        return super().whole if self.array is None else self.name
