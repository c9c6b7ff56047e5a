"""The service's side of the camera's WebSocket, played by a test."""

import json
import struct
from typing import Any

from serve.page.service import top_of


class Stream:
    """Answers every frame with `label`; with `reply` set, the first message with that."""

    def __init__(self, page: Any) -> None:
        self.first: list[dict[str, Any]] = []  # messages after opening
        self.frames: list[tuple[float, bytes]] = []  # with their times
        self.opened, self.dead, self.mute = 0, False, False
        self.live: Any = None
        self.label = ("waving", 0.9)
        self.reply: dict[str, Any] | None = None
        page.route_web_socket("**/stream", self.open)

    def open(self, socket: Any) -> None:
        self.opened += 1
        if self.dead:
            socket.close(code=1011)
            return
        self.live = socket
        socket.on_message(self.take)

    def take(self, data: str | bytes) -> None:
        if isinstance(data, str):
            self.first.append(json.loads(data))
            if self.reply is not None:
                self.live.send(json.dumps(self.reply))
            return
        time = struct.unpack("<d", data[:8])[0]
        self.frames.append((time, data[8:]))
        if self.mute:
            return
        label, score = self.label
        said = {"time": time, "label": label, "score": score, "top": top_of(label, score)}
        self.live.send(json.dumps(said | {"latency_ms": 12.4, "dropped": 2}))


def start(tab: Any) -> Any:
    """Open the page and start its camera."""
    page = tab.open()
    page.click("#tab-camera")
    page.click("#camera-start")
    return page
