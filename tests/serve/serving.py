"""A service that runs in a thread of the test, and what tests ask of it."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from pseudo3d.data.writer import write_video
from pseudo3d.serve.run import listen, server
from pseudo3d.serve.service import Service
from pseudo3d.serve.settings import Settings

for _module in ("fastapi", "uvicorn", "websockets", "python_multipart"):
    pytest.importorskip(_module, reason=f"{_module} is absent: pip install 'pseudo3d[serve]'")
httpx: Any = pytest.importorskip("httpx", reason="httpx, which these tests ask with, is absent")

FORM = "multipart/form-data; boundary=XX"
HEAD = b'--XX\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\n\r\n'
PATIENCE = 120  # s; the machine may be busy


@dataclass
class Running:
    """A running service."""

    port: int
    service: Service
    client: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def post(self, path: Path, to: str = "/predict", **query: Any) -> Any:
        """Upload a file."""
        with path.open("rb") as file:
            return self.client.post(to, files={"file": (path.name, file)}, params=query)

    def empty(self) -> bool:
        """Whether nothing of any request is left."""
        return self.service.inside == 0 and not list(self.service.folder.path.iterdir())


@contextmanager
def serving(
    settings: Settings, *, wait: bool = True, token: str | None = None
) -> Iterator[Running]:
    """A service on a free port; ended, processes and all, whatever happens."""
    door = listen(settings)
    made = server(settings)
    thread = threading.Thread(target=made.run, kwargs={"sockets": [door]})
    thread.start()
    port = door.getsockname()[1]
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    base = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=base, timeout=PATIENCE, headers=headers) as client:
            running = Running(port, made.config.app.state.service, client)
            until(lambda: made.started)
            if wait:
                until(lambda: client.get("/health").json()["status"] == "ready")
            yield running
    finally:
        made.should_exit = True
        thread.join(PATIENCE)
        door.close()
    assert not thread.is_alive()


def until(fact: Callable[[], Any]) -> Any:
    """Wait for something to become true."""
    end = time.monotonic() + PATIENCE
    while not (found := fact()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)
    return found


def film(path: Path, seed: int, frames: int = 20, size: tuple[int, int] = (36, 44)) -> Path:
    """A moving patch on noise, at 10 Hz."""
    rng = torch.Generator().manual_seed(seed)
    base = torch.rand(3, 1, *size, generator=rng).expand(3, frames, *size) * 200
    clip = base.clone()
    for t in range(frames):
        at = (3 * t + 5 * seed) % (size[1] - 8)
        clip[:, t, 8:20, at : at + 8] = 250 - 40 * (seed % 5)
    write_video(path, clip.byte(), fps=10)
    return path


def assert_same(answer: Any, expected: Any) -> None:
    """The service says what `predict` says."""
    assert answer["label"] == expected.label
    assert answer["score"] == pytest.approx(float(expected.probs.max()), abs=1e-4)
    assert [row["start"] for row in answer["timeline"]] == pytest.approx(
        expected.starts.tolist(), abs=1e-3
    )
    assert [row["end"] for row in answer["timeline"]] == pytest.approx(
        expected.ends.tolist(), abs=1e-3
    )
    for row, probs in zip(answer["timeline"], expected.window_probs, strict=True):
        found = {entry["label"]: entry["score"] for entry in row["top"]}
        assert [found[name] for name in expected.classes] == pytest.approx(probs.tolist(), abs=1e-4)


def refused(answer: Any, status: int, code: str, *words: str) -> str:
    """The sentence of a refusal, which has this code and names these words."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(answer.json()) == {"error"}
    assert error["code"] == code
    for word in words:
        assert word in error["message"]
    return str(error["message"])


def raw(running: Running, head: bytes, body: bytes = b"", *, close: bool = False) -> bytes:
    """Send bytes as they are; all that comes back until the service closes."""
    with socket.create_connection(("127.0.0.1", running.port), timeout=30) as plug:
        plug.sendall(head + body)
        if close:
            return b""
        return b"".join(iter(lambda: plug.recv(65536), b""))


def request(length: int, path: str = "/predict", extra: str = "") -> bytes:
    """The head of an upload."""
    lines = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\n{extra}"
    return f"{lines}Content-Length: {length}\r\n\r\n".encode()
