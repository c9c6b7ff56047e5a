"""How a video or a scan is looked at: which parts of it, and what becomes of them."""

from dataclasses import dataclass

from pseudo3d.engine.windows import Windows


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """How a video is looked at.

    Args:
        clips: per video, spread evenly over it.
        windows: cut long videos like `predict` instead of taking `clips` clips; a window is then
            the mean of its views, and a row of `clip_layers`.
        mirror: average every clip with its mirror image.
        per_clip: keep the rows of the clips beside their mean.
    """

    clips: int = 20
    windows: Windows | None = None
    mirror: bool = False
    per_clip: bool = False

    def __post_init__(self) -> None:
        if self.clips < 1:
            raise ValueError(f"clips is {self.clips}; wanted at least 1")

    def describe(self) -> str:
        """In words, to stand beside every score."""
        what = f"{self.clips} clip{'s'[: self.clips > 1]} per video, spread evenly"
        if self.windows is not None:
            length, hop = self.windows.seconds, self.windows.hop
            what = "windows of " + (f"{length:g} s" if length else "the training clips' length")
            what += f" every {hop:g} s" if hop else " every quarter of a window"
        text = f"{what}, center crop, mean of {'clips' if self.windows is None else 'windows'}"
        return text + (", each averaged with its mirror image" if self.mirror else "")

    @property
    def keeps_clips(self) -> bool:
        """Whether rows of single clips or windows are wanted."""
        return self.per_clip or self.windows is not None


@dataclass(frozen=True, kw_only=True)
class ScanExtraction(Extraction):
    """How a scan is looked at: once, or through windows side by side where it is cut into them."""

    clips: int = 1
    windowed: bool = False

    def describe(self) -> str:
        """In words, to stand beside every score."""
        text = "mean of windows side by side" if self.windowed else "the middle of each scan"
        return text + (", averaged with its mirror image" if self.mirror else "")
