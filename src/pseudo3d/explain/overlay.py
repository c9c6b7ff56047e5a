"""Put an attribution over the video it is of: films and pictures a person can judge it by."""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8

from pseudo3d.data.decode import NEAR
from pseudo3d.data.sampling import nearest
from pseudo3d.data.video import Video, probe, stream_video
from pseudo3d.errors import VideoError
from pseudo3d.explain.saliency import Attribution
from pseudo3d.report.overlay import (
    Curves,
    Part,
    Story,
    importance_png,
    overlay_gif,
    overlay_mp4,
    strip_png,
)

_LEAST, _MOST = 240, 720  # pixels, the shorter side of a film
_PICTURE = 240  # pixels, the shorter side of frames in a strip
_ROWS = 64  # of the heat before it is spread over a frame
_CHUNK = 8  # frames in memory at a time


def story_of(found: Attribution, name: str = "") -> Story:
    """The words and curves beside the heat."""
    sure = f"{100 * found.answer:.0f} % sure" if 0 <= found.answer <= 1 else f"{found.answer:.4g}"
    start = f"{name}: " if name else ""
    tested = found.faithfulness
    return Story(
        times=found.times,
        importance=found.importance,
        title=f"{start}{found.target}, {sure}, by {found.method}",
        verdict=found.verdict,
        tested=None
        if tested is None
        else Curves(shares=tested.shares, deleted=tested.deleted, inserted=tested.inserted),
        unit="frame" if found.span is None else "s",
    )


def write_film(path: str | Path, found: Attribution, out: str | Path) -> Path:
    """Write the stretch of video that was explained with the heat over it (MP4).

    Between the frames that the network saw, heat is interpolated in time. Sound is left out.

    Raises:
        VideoError: the video cannot be read, or the film cannot be written; or it would replace the
            video.
    """
    if Path(out).exists() and Path(out).samefile(path):
        raise VideoError(f"{out} is the video itself and would be written over; give another place")
    info = probe(path)
    side = min(max(_LEAST, min(info.height, info.width)), _MOST)
    start, end = found.span or (0.0, None)
    videos = stream_video(path, chunk=_CHUNK, start=start, end=end, size=side)
    return overlay_mp4(_parts(videos, found), story_of(found, Path(path).name), out, info.fps or 25)


def _parts(videos: Iterator[Video], found: Attribution) -> Iterator[Part]:
    """Frames with the heat of their moment; the film's size is even, as the codec wants it."""
    first = next(videos)
    height, width = (side - side % 2 for side in first.frames.shape[2:])
    heat = torch.from_numpy(found.framed(_ROWS, max(1, round(_ROWS * width / height))))
    for video in chain([first], videos):
        frames = video.frames[:, :, :height, :width].permute(1, 2, 3, 0)
        warm = _between(heat, torch.from_numpy(found.times), video.times)
        large = F.interpolate(warm[:, None].float(), (height, width), mode="bilinear")[:, 0]
        yield Part(frames.contiguous().numpy(), large.clamp(0, 1).numpy(), video.times.numpy())


def _between(
    heat: Float[torch.Tensor, "t h w"],
    times: Float[torch.Tensor, " t"],
    wanted: Float[torch.Tensor, " n"],
) -> Float[torch.Tensor, "n h w"]:
    """The heat at other moments, linearly between the two nearest ones."""
    after = torch.searchsorted(times, wanted.to(times), right=True).clamp(1, max(len(times) - 1, 1))
    after = after.clamp(max=len(times) - 1)
    before = (after - 1).clamp(min=0)
    gap = (times[after] - times[before]).clamp(min=NEAR)
    part = ((wanted.to(times) - times[before]) / gap).clamp(0, 1).to(heat)[:, None, None]
    return heat[before] * (1 - part) + heat[after] * part


def frames_seen(
    path: str | Path, found: Attribution, side: int = _PICTURE
) -> tuple[UInt8[np.ndarray, "t h w 3"], Float[np.ndarray, "t h w"]]:
    """The frames that the network saw, whole and in color, with their heat.

    Raises:
        VideoError: the video cannot be read.
    """
    wanted, (start, end) = torch.from_numpy(found.times), found.span or (0.0, None)
    kept, times = [], []
    for video in stream_video(path, chunk=_CHUNK, start=start, end=end, size=side):
        close = (video.times[:, None] - wanted).abs().amin(1) <= NEAR
        kept.append(video.frames[:, close])
        times.append(video.times[close])
    number = nearest(torch.cat(times), wanted)
    frames = torch.cat(kept, dim=1)[:, number].permute(1, 2, 3, 0).contiguous().numpy()
    return frames, found.framed(*frames.shape[1:3]).astype(np.float32)


def write_pictures(path: str | Path, found: Attribution, out: str | Path, name: str) -> list[Path]:
    """Write `NAME_strip.png`, `NAME_importance.png` and `NAME.gif` into a folder.

    Raises:
        VideoError: the video cannot be read.
        Pseudo3dError: a file cannot be written.
    """
    out, story = Path(out), story_of(found, Path(path).name)
    frames, heat = frames_seen(path, found)
    return [
        strip_png(frames, heat, story, out / f"{name}_strip.png"),
        importance_png(story, out / f"{name}_importance.png"),
        overlay_gif(frames, heat, out / f"{name}.gif"),
    ]
