"""Decode whole files and say what they hold, before anything is trained on them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import av

from pseudo3d.data.decode import Source, decoded, hidden_frames, name_of, open_stream, size_of
from pseudo3d.data.manifest import Manifest, read_manifest
from pseudo3d.data.shards.read import is_shards, read_shards
from pseudo3d.data.shards.storage import is_remote
from pseudo3d.data.shards.verify import verify
from pseudo3d.errors import ManifestError, VideoError


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """What one file declares and what comes out of it; None where the file does not say."""

    file: str
    bytes: int | None = None
    container: str | None = None
    codec: str | None = None
    pixel_format: str | None = None
    width: int | None = None  # pixels, as coded, before rotation
    height: int | None = None  # pixels, as coded, before rotation
    declared_frames: int | None = None  # 0 when the container does not say
    decoded_frames: int | None = None
    rotation: int | None = None  # degrees counterclockwise that bring the coded frame upright
    fps: float | None = None  # Hz, mean
    variable_rate: bool | None = None
    start_s: float | None = None  # s, presentation time of the first frame, to 1 ms
    error: str | None = None  # stage and kind, as "decode:InvalidDataError"
    problem: str | None = None  # what a person should know, in words


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Counts over a whole data set."""

    data: str
    files: int
    frames: int  # decoded, all files together
    classes: Mapping[str, int]  # items of each; empty without labels
    groups: Mapping[str, int]
    splits: Mapping[str, int]
    lengths: Mapping[str, float]  # min, median, max of decoded frames
    sizes: Mapping[str, int]  # files of each "WIDTHxHEIGHT", as coded
    rotated: int  # files
    variable_rate: int  # files
    problems: Mapping[str, str]  # file -> what is wrong with it
    skipped: tuple[str, ...]  # files that are no videos by their suffix
    reports: tuple[FileReport, ...] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def survey(paths: Iterable[str | Path]) -> Iterator[FileReport]:
    """Decode each file from its first frame to its last; nothing a file holds raises."""
    for path in map(Path, paths):
        report = _survey_file(path)
        yield replace(report, problem=_problem(report))


def _survey_file(source: Source) -> FileReport:
    report = FileReport(file=name_of(source).name, bytes=size_of(source))
    try:
        with open_stream(source) as (container, stream):
            report = replace(report, container=container.format.name)
            if stream is None:
                return replace(report, error="no video stream")
            if stream.codec_context is None:
                return replace(report, error="open:unknown codec")
            return _decode(source, report, container, stream)
    except (av.FFmpegError, OSError) as err:
        return replace(report, error=f"open:{type(err).__name__}")
    except VideoError:
        return replace(report, error="open:frames too large")


def _decode(source: Source, report: FileReport, container: Any, stream: Any) -> FileReport:
    count, rotation, error = 0, 0, None
    stamps: list[int] = []
    try:
        for frame in decoded(container, stream):
            if not count:
                rotation = frame.rotation
            count += 1
            if frame.pts is not None:
                stamps.append(frame.pts)
    except av.FFmpegError as err:
        error = f"decode:{type(err).__name__}"
    codec, declared = stream.codec_context, stream.frames
    if error is None and 0 < count < declared:
        declared -= hidden_frames(source)
    return replace(
        report,
        codec=codec.name,
        pixel_format=codec.format.name if codec.format else None,
        width=codec.width,
        height=codec.height,
        declared_frames=declared,
        decoded_frames=count,
        rotation=rotation,
        fps=round(float(stream.average_rate or 0), 3),
        variable_rate=_varies(stamps, float(stream.time_base)),
        start_s=round(float(stamps[0] * stream.time_base), 3) if stamps else None,
        error=error,
    )


def _varies(stamps: list[int], tick: float) -> bool:
    """Whether steps differ by more than a tenth, or than rounding to ticks explains."""
    steps = [(b - a) * tick for a, b in pairwise(stamps)]
    if not steps:
        return False
    usual = median(steps)
    rounding = 1.01 * tick if 2 * tick < usual else 0.0
    return max(steps) - min(steps) > max(0.1 * usual, rounding)


def _problem(report: FileReport) -> str | None:
    """What a person should know about a file, or None."""
    declared, decoded = report.declared_frames or 0, report.decoded_frames
    if report.error == "open:FileNotFoundError":
        return "missing"
    if report.bytes == 0:
        return "unreadable: the file is empty"
    if report.error and decoded is None:
        return report.error.replace("open:", "unreadable: ")
    if report.error:
        of = f" of {declared}" if declared else ""
        return f"decode error after {decoded}{of} frames: {report.error.removeprefix('decode:')}"
    if not decoded:
        return "no frames"
    if decoded < declared:
        return f"silent loss: {declared} frames declared, {decoded} decoded"
    return "one frame" if decoded == 1 else None


def survey_data(data: str | Path, progress: Callable[[int, int], None] | None = None) -> Survey:
    """Survey a manifest, a folder per class, packed shards, a plain folder of files, or one file.

    Args:
        progress: called with (files done, files in all) after each file.

    Raises:
        ManifestError: the list of files contradicts itself or the disk.
    """
    if is_remote(data) or is_shards(data):
        return _survey_shards(data, progress)
    root = Path(data)
    manifest = _labeled(root)
    if manifest is not None:
        paths = list(dict.fromkeys(item.path for item in manifest.items))
    elif root.is_file():
        paths = [root]
    else:
        paths = sorted(p for p in root.iterdir() if p.suffix != ".csv" and not _hidden(p))
    if not paths:
        raise ManifestError(f"{root} holds no files: give a manifest or a folder of videos")
    base, reports = root if root.is_dir() else root.parent, []
    for path, report in zip(paths, survey(paths), strict=True):
        name = path.relative_to(base) if path.is_relative_to(base) else path
        reports.append(replace(report, file=name.as_posix()))
        if progress is not None:
            progress(len(reports), len(paths))
    return _summary(root, manifest or Manifest((), ()), tuple(reports))


def _survey_shards(address: str | Path, progress: Callable[[int, int], None] | None) -> Survey:
    """Check every byte of packed shards, and decode every sample."""
    manifest, reports = read_shards(address), list[FileReport]()
    for item in manifest.items:
        name = "/".join(item.path.parts[-2:])
        try:
            report = _survey_file(item.fetch())
        except VideoError as err:
            why = str(err).removeprefix(f"{item.path}: ")
            report = FileReport(file=name, bytes=item.size(), error=f"open:{why}")
        reports.append(replace(report, file=name, problem=_problem(report)))
        if progress is not None:
            progress(len(reports), len(manifest.items))
    found = _summary(Path(address), manifest, tuple(reports))
    return replace(found, problems={**verify(address).damaged, **found.problems})


def _labeled(root: Path) -> Manifest | None:
    """The manifest of a CSV, a folder with one, or a folder per class; else None."""
    if root.is_file() and root.suffix != ".csv":
        return None
    if root.is_dir() and not (root / "manifest.csv").is_file():
        inside = [p for p in root.iterdir() if p.is_dir() and not _hidden(p)]
        return read_manifest(root) if inside else None
    return read_manifest(root)


def _hidden(path: Path) -> bool:
    return path.name.startswith(".")


def _summary(root: Path, manifest: Manifest, reports: tuple[FileReport, ...]) -> Survey:
    lengths = [r.decoded_frames for r in reports if r.decoded_frames]
    spread = {f.__name__: f(lengths) for f in (min, median, max)} if lengths else {}
    return Survey(
        data=str(root),
        files=len(reports),
        frames=sum(lengths),
        classes=dict.fromkeys(manifest.classes, 0) | _count(i.label for i in manifest.items),
        groups=_count(item.group for item in manifest.items),
        splits=_count(item.split for item in manifest.items),
        lengths=spread,
        sizes=_count(f"{r.width}x{r.height}" for r in reports if r.decoded_frames),
        rotated=sum(bool(r.rotation) for r in reports),
        variable_rate=sum(bool(r.variable_rate) for r in reports),
        problems={r.file: r.problem for r in reports if r.problem},
        skipped=tuple(str(path) for path in manifest.skipped),
        reports=reports,
    )


def _count(values: Iterable[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(v for v in values if v is not None).items()))
