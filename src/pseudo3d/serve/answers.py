"""What the service found, as the JSON that clients get."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from pseudo3d.engine.predict import Prediction

_MOST = 4096  # values of one axis of a heat map


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen in an upload."""

    prediction: Prediction
    duration: float  # s
    fps: float
    frames: int
    width: int
    height: int

    def to_dict(self, top: int) -> dict[str, Any]:
        """For JSON."""
        found = self.prediction
        return {
            "source": found.source,
            "kind": "video",
            **ranked(found.classes, found.probs, top),
            "timeline": [
                {
                    "start": round(float(start), 3),
                    "end": round(float(end), 3),
                    **ranked(found.classes, row, top),
                }
                for start, end, row in zip(
                    found.starts, found.ends, found.window_probs, strict=True
                )
            ],
            "duration": round(self.duration, 3),
            "fps": round(self.fps, 3),
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "problem": found.problem,
            "segments": None,
            "importance": None,
            "heat": None,
        }


def ranked(classes: Sequence[str], probs: Float[np.ndarray, " k"], top: int) -> dict[str, Any]:
    """The most probable class, and the `top` most probable ones."""
    order = probs.argsort()[::-1][:top]
    best = int(order[0])
    return {
        "label": classes[best],
        "score": round(float(probs[best]), 6),
        "top": [{"label": classes[i], "score": round(float(probs[i]), 6)} for i in order],
    }


@dataclass(frozen=True, kw_only=True)
class Attention:
    """What the network looked at, frame by frame, over the whole picture."""

    times: Float[np.ndarray, " t"]  # s
    importance: Float[np.ndarray, " t"]  # sums to 1
    heat: Float[np.ndarray, "t h w"]  # 0 to 1
    target: str
    method: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        times = [round(float(t), 4) for t in self.times]
        heat = np.rint(self.heat.clip(0, 1) * 255).astype(np.uint8)
        return {
            "importance": {
                "times": times,
                "values": [round(float(v), 6) for v in self.importance],
                "target": self.target,
                "method": self.method,
            },
            "heat": {
                "times": times,
                "rows": heat.shape[1],
                "cols": heat.shape[2],
                "values": b64encode(heat.tobytes()).decode("ascii"),
            },
        }
