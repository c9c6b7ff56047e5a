"""What is done with an upload: predict, cut into segments, take features."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pseudo3d.serve.attention import Samples, attend
from pseudo3d.serve.films import Window
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.service import Service
from pseudo3d.serve.upload import Upload

if TYPE_CHECKING:
    from pseudo3d.engine.predict import Prediction
    from pseudo3d.features.sources import Extractor


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a client wants to know of an upload."""

    top: int = 5
    explain: bool = False
    segments: bool = False
    series: str | None = None  # of a scan
    index: int | None = None


async def prediction(service: Service, upload: Upload, asked: Asked) -> dict[str, Any]:
    """For /predict."""
    if service.model.input == "scan":
        which = {"top": asked.top, "series": asked.series, "index": asked.index}
        return await service.reader.scan(upload, which)
    samples = Samples() if asked.explain else None
    keep = None if samples is None else samples.add
    seen = await service.look(upload, keep, fine=asked.segments)  # as `p3d predict --segments`
    answer = seen.to_dict(asked.top)
    if asked.segments:
        answer["segments"] = segments_in(seen.prediction)
    if samples is not None:
        answer |= (await attend(service, samples, seen)).to_dict()
    return answer


async def segments(service: Service, upload: Upload) -> dict[str, Any]:
    """For /segments."""
    _check_video(service)
    seen = await service.look(upload, fine=True)
    return {
        "source": upload.name,
        "segments": segments_in(seen.prediction),
        "duration": round(seen.duration, 3),
        "problem": seen.prediction.problem,
    }


def segments_in(found: "Prediction") -> list[dict[str, Any]]:
    """Stretches of one class, by the rule `p3d predict --segments` starts from."""
    try:
        from pseudo3d.engine.segments import SegmentRule, segments_of
    except ImportError as err:
        raise Problem("bad_request", "this version does not cut videos into segments") from err
    return [
        {
            "start": round(part.start, 3),
            "end": round(part.end, 3),
            "label": part.label,
            "score": round(part.score, 6),
        }
        for part in segments_of(found, SegmentRule())
    ]


async def features(
    service: Service, upload: Upload, layer: str, *, windows: bool
) -> dict[str, Any]:
    """For /features."""
    _check_video(service)
    loop = asyncio.get_running_loop()
    extractor: Extractor = await loop.run_in_executor(service.threads, _extractor, service, layer)
    rows: list[np.ndarray] = []
    counts: list[int] = []

    async def use(window: Window) -> None:
        found = await loop.run_in_executor(service.threads, extractor, window.clips)
        rows.append(found[layer].mean(0, dtype=np.float64))
        counts.append(len(window.clips))

    def anew() -> None:
        rows.clear()
        counts.clear()

    film = await service.reader.cut(upload, use, anew)
    whole = np.average(rows, axis=0, weights=counts)
    values = np.stack(rows) if windows else whole
    return {
        "source": upload.name,
        "layer": layer,
        "shape": list(values.shape),
        "values": np.round(values, 6).tolist(),
        "windows": [{"start": round(s, 3), "end": round(e, 3)} for s, e in film.spans],
        "problem": film.problem,
    }


def _extractor(service: Service, layer: str) -> "Extractor":
    """What gives a layer; the last few asked for are kept."""
    from pseudo3d.features.sources import open_extractor

    if layer not in service.extractors:
        while len(service.extractors) >= 4:
            service.extractors.pop(next(iter(service.extractors)))
        made = service.model.layers_of()
        service.extractors[layer] = open_extractor(made, [layer])
    return service.extractors[layer]


def _check_video(service: Service) -> None:
    if service.model.input != "video":
        raise Problem("bad_request", "this network takes scans; send them to /predict")
