"""A service that is not there: every request of the page is answered here, none goes out."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np

import pseudo3d

STATIC = Path(pseudo3d.__file__).parent / "serve" / "static"
BASE = "http://localhost:8123/"  # never connected to; localhost so that a camera may be asked for
CSP = (
    "default-src 'self'; media-src 'self' blob:; img-src 'self' blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FRAME_CSP = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; frame-ancestors 'self'"
)
MIME = {".js": "text/javascript", ".css": "text/css", ".html": "text/html; charset=utf-8"}
CLASSES = ["waving", "clapping", "sitting down", "standing up", "<b>bowing</b>"]
CARD = {
    "name": "p3d_tiny",
    "classes": CLASSES,
    "input": "video",
    "frames": 16,
    "size": [64, 64],
    "seconds": 2.0,
    "protocol": "held-out people, 1 view of each video",
    "scores": {"video_hit@1": 0.913, "seeds": 3, "clip": {"hit@1": 0.87}},
    "training": {"epochs": 40, "data": "motions"},
    "limits": {"upload_bytes": 2_000_000, "seconds": 600, "frames": 20000, "pixels": 4_000_000},
    "token_required": False,
    "research_use_only": True,
}
Answer = tuple[int, Any, dict[str, str]]


def top_of(label: str, score: float) -> list[dict[str, Any]]:
    others = [name for name in CLASSES if name != label]
    rest = (1 - score) / len(others)
    return [{"label": label, "score": score}, *({"label": o, "score": rest} for o in others)]


def window(start: float, label: str, score: float) -> dict[str, Any]:
    top = top_of(label, score)
    return {"start": start, "end": start + 1.0, "label": label, "score": score, "top": top}


def answer(name: str = "film.mp4") -> dict[str, Any]:
    """What /predict says of the made film of 4 s: two labels, unsure between them."""
    parts = [("waving", 0.9)] * 3 + [("clapping", 0.31)] + [("sitting down", 0.8)] * 3
    timeline = [window(0.5 * i, label, score) for i, (label, score) in enumerate(parts)]
    segments = [
        {"start": 0.2, "end": 1.6, "label": "waving", "score": 0.9},
        {"start": 2.4, "end": 4.0, "label": "sitting down", "score": 0.8},
    ]
    return {
        "source": name,
        "kind": "video",
        "label": "waving",
        "score": 0.62,
        "top": top_of("waving", 0.62),
        "timeline": timeline,
        "duration": 4.0,
        "fps": 25.0,
        "frames": 100,
        "width": 160,
        "height": 120,
        "problem": None,
        "segments": segments,
        "importance": None,
        "heat": None,
    }


def explained() -> dict[str, Any]:
    """The same with heat for the first 2 s: one hot cell that wanders to the right."""
    heat = np.zeros((8, 4, 8), dtype=np.uint8)
    for i in range(8):
        heat[i, 1, i] = 255
    times = [0.125 + 0.25 * i for i in range(8)]
    values = [0.05, 0.05, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1]
    data = b64encode(heat.tobytes()).decode("ascii")
    return answer() | {
        "importance": {"times": times, "values": values},
        "heat": {"times": times, "rows": 4, "cols": 8, "values": data},
    }


@dataclass
class Service:
    """Answers of the REST interface as the contract has them; a test changes what it likes."""

    card: dict[str, Any] = field(default_factory=lambda: dict(CARD))
    health: Answer = (200, {"status": "ready"}, {})
    token: str | None = None
    predict: Callable[[dict[str, str]], Answer | None] = lambda query: (
        200,
        explained() if query["explain"] == "true" else answer(),
        {},
    )
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    held: list[Any] = field(default_factory=list)  # requests that `predict` left open with None
    foreign: list[str] = field(default_factory=list)  # what was asked of anybody else
    down: bool = False

    def open(self, route: Any) -> None:
        """Answer one request of the browser."""
        request = route.request
        where = urlsplit(request.url)
        query = {key: values[0] for key, values in parse_qs(where.query).items()}
        self.asked.append((where.path, query))
        if not request.url.startswith(BASE):
            self.foreign.append(request.url)
            route.abort()
        elif where.path == "/" or where.path.startswith("/static/"):
            _static(route, where.path.removeprefix("/static/").strip("/") or "index.html")
        elif self.down:
            route.abort("connectionrefused")
        else:
            self._rest(route, where.path, query)

    def _rest(self, route: Any, path: str, query: dict[str, str]) -> None:
        sent = route.request.headers.get("authorization")
        if path == "/health":
            found: Answer | None = self.health
        elif path == "/model":
            found = (200, self.card, {})
        elif self.token and sent != f"Bearer {self.token}":
            found = refusal(401, "unauthorized", "This token is not the service's.")
        else:
            found = self.predict(query)
        if found is None:
            self.held.append(route)
        else:
            reply(route, found)

    def times(self, path: str) -> int:
        """How often something was asked for."""
        return sum(asked == path for asked, _ in self.asked)


def refusal(status: int, code: str, message: str, **headers: str) -> Answer:
    return status, {"error": {"code": code, "message": message}}, headers


def reply(route: Any, found: Answer) -> None:
    status, body, headers = found
    text = body if isinstance(body, str) else json.dumps(body)
    route.fulfill(status=status, body=text, headers={"Content-Type": "application/json", **headers})


def _static(route: Any, name: str) -> None:
    path = STATIC / name
    kind = MIME.get(path.suffix, "image/svg+xml")
    headers = {"Content-Security-Policy": FRAME_CSP if name == "frame.html" else CSP}
    headers |= {"Content-Type": kind, "X-Content-Type-Options": "nosniff"}
    if path.is_file():
        route.fulfill(body=path.read_bytes(), headers=headers)
    else:
        route.fulfill(status=404, body="not found")
