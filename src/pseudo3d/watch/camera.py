"""A camera that is none: frames served over loopback HTTP at their own speed, to try things on.

    python -m pseudo3d.watch.camera FILE.mp4 [PORT]

Every client gets the stream from its start, as MJPEG (what web cameras speak) or, at an address
that ends in `.ts`, as H.264 in MPEG-TS.
"""

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from pseudo3d.data.decode import opened, timed, upright

Picture = UInt8[np.ndarray, "h w 3"]
Shown = Picture | bytes | Callable[[], Picture]  # bytes are sent raw; a function draws at its time
Film = Callable[[], Iterator[tuple[float, Shown]]]  # s from the start, and what is shown then
_BOUNDARY = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
_TICK = Fraction(1, 90_000)  # s, of MPEG-TS


def film(path: str | Path, *, loop: bool = True) -> Film:
    """The frames of a file with their times; again from the start after the end."""

    def play() -> Iterator[tuple[float, Shown]]:
        base = 0.0
        while True:
            time = 0.0
            with opened(Path(path)) as (container, stream):
                frames = container.decode(stream)
                first, step = next(frames), 1 / float(stream.average_rate or 25)
                for time, frame in timed(chain([first], frames), first, stream):
                    yield base + time, upright(frame.to_ndarray(format="rgb24"), frame)
            if not loop:
                return
            base += time + step

    return play


class Camera:
    """Serves a film on 127.0.0.1 while its context is open; bytes in it are sent as they are.

    Args:
        port: 0 takes any that is free.
    """

    def __init__(self, play: Film, *, port: int = 0, quality: int = 85) -> None:
        self.play, self.quality, self.clients = play, quality, 0
        self.closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", port), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def url(self) -> str:
        """Of the MJPEG stream."""
        return f"http://127.0.0.1:{self._server.server_port}/camera.mjpg"

    @property
    def transport_url(self) -> str:
        """Of the same as MPEG-TS."""
        return self.url.replace(".mjpg", ".ts")

    def __enter__(self) -> "Camera":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def frames(self) -> Iterator[Picture | bytes]:
        """The film at its own speed."""
        began = time.monotonic()
        for at, shown in self.play():
            if self.closing.wait(max(0.0, began + at - time.monotonic())):
                return
            yield shown() if callable(shown) else shown


def _handler(camera: Camera) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            transport = self.path.endswith(".ts")
            kind = "video/mp2t" if transport else "multipart/x-mixed-replace; boundary=frame"
            camera.clients += 1
            with suppress(OSError):  # the client left
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.end_headers()
                (_send_transport if transport else _send_jpegs)(camera, self.wfile)

        def log_message(self, *about: Any) -> None:
            """Say nothing."""

    return Handler


def _send_jpegs(camera: Camera, out: Any) -> None:
    for shown in camera.frames():
        if isinstance(shown, bytes):
            out.write(shown)
            continue
        coded = io.BytesIO()
        Image.fromarray(shown).save(coded, "JPEG", quality=camera.quality)
        out.write(_BOUNDARY % coded.tell() + coded.getvalue() + b"\r\n")


class _Pipe:
    """What a muxer writes goes to the client at once."""

    def __init__(self, out: Any) -> None:
        self.out = out

    def write(self, data: bytes) -> int:
        return int(self.out.write(data) or len(data))


def _send_transport(camera: Camera, out: Any) -> None:
    stream: Any = None
    container: Any = av.open(_Pipe(out), "w", format="mpegts", options={"flush_packets": "1"})
    began = time.monotonic()
    for shown in camera.frames():
        if isinstance(shown, bytes):
            out.write(shown)
            continue
        if stream is None:
            stream = container.add_stream("libx264", rate=30)
            stream.height, stream.width = (side - side % 2 for side in shown.shape[:2])
            stream.pix_fmt = "yuv420p"
            stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
            stream.codec_context.gop_size = 15
            stream.codec_context.time_base = _TICK
        image = np.ascontiguousarray(shown[: stream.height, : stream.width])
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame.time_base, frame.pts = _TICK, round((time.monotonic() - began) / _TICK)
        container.mux(stream.encode(frame))


def main() -> None:
    """Serve a file until interrupted."""
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with Camera(film(sys.argv[1]), port=port) as camera, suppress(KeyboardInterrupt):
        sys.stdout.write(f"{camera.url}\n{camera.transport_url}\n")
        sys.stdout.flush()
        threading.Event().wait()


if __name__ == "__main__":
    main()
