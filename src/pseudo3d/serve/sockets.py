"""A camera over a WebSocket: frames in, decisions out, the newest frame first."""

import asyncio
import json
import logging
import math
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from pseudo3d.errors import Pseudo3dError
from pseudo3d.serve.guard import Guard, unauthorized
from pseudo3d.serve.problems import INTERNAL, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pseudo3d.engine.live import Decision
    from pseudo3d.serve.service import Service

_log = logging.getLogger(__name__)
_STAMP = struct.Struct("<d")
_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF")
_REFUSED, _BROKEN = 1008, 1011  # RFC 6455: policy, and an error of the service
_TOP = 3


class Frame(NamedTuple):
    """A picture as it came."""

    data: bytes
    time: float  # s, on the client's clock, or since the connection stands
    came: float  # s, on ours


@dataclass
class Camera:
    """One connection: only the newest frame waits."""

    socket: WebSocket
    began: float = field(default_factory=monotonic)
    top: int = _TOP
    newest: Frame | None = None
    dropped: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, data: bytes) -> None:
        """A new frame; the one that waits is not looked at any more."""
        if self.newest is not None:
            self.dropped += 1
        came = monotonic()
        self.newest = Frame(*_stamped(data, came - self.began), came)
        self.more.set()

    async def next(self, idle: float) -> Frame:
        """The newest frame.

        Raises:
            Problem: none comes.
        """
        try:
            async with asyncio.timeout(idle):
                await self.more.wait()
        except TimeoutError as err:
            raise Problem("timeout", f"no frame for {idle:g} s; connect again") from err
        self.more.clear()
        frame, self.newest = self.newest, None
        if frame is None:  # the event is set with a frame only
            raise Problem("internal", INTERNAL)
        return frame


def _stamped(data: bytes, now: float) -> tuple[bytes, float]:
    """A picture, and its time where the client put one before it.

    Raises:
        Problem: a time that is none.
    """
    if not data[8:].startswith(_PICTURES):
        return data, now
    time = _STAMP.unpack(data[:8])[0]
    if not math.isfinite(time):
        raise Problem("bad_request", f"a frame's time is {time}; send seconds, or none")
    return data[8:], time


def add_sockets(app: "FastAPI", service: "Service") -> None:
    """Enter the route."""
    guard = Guard(app, service.settings, service.metrics)

    @app.websocket("/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        problem: Problem | None = None
        try:
            await _served(service, guard, socket)
        except WebSocketDisconnect:
            return
        except Problem as err:
            problem = err
        except Pseudo3dError as err:
            problem = Problem("bad_request", str(err))
        except Exception:
            _log.exception("the connection of a camera ended with an error")
            problem = Problem("internal", INTERNAL)
        if problem is not None:
            service.metrics.problems[problem.code] += 1
            with suppress(WebSocketDisconnect, RuntimeError):  # the client may be gone by now
                await socket.send_text(json.dumps(problem.body()))
                await socket.close(_BROKEN if problem.code == "internal" else _REFUSED)


async def _served(service: "Service", guard: Guard, socket: WebSocket) -> None:
    """One camera until it leaves."""
    camera = Camera(socket)
    await _hello(service, guard, camera)
    service.model.check_ready()
    if service.model.input != "video":
        raise Problem("bad_request", "this network takes scans; a camera gives none")
    if (there := service.cameras.connected) >= service.settings.streams:
        raise Problem("busy", f"{there} cameras are connected, no more fit; try again later")
    service.cameras.connected += 1
    tasks = [
        asyncio.create_task(_listen(camera)),
        asyncio.create_task(_decide(service, camera)),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        service.cameras.connected -= 1
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _hello(service: "Service", guard: Guard, camera: Camera) -> None:
    """The first message: the token, and how many classes are wanted.

    Raises:
        Problem: no or another token, or no such message.
    """
    given = camera.socket.headers.get("authorization", "").partition(" ")[2]
    try:
        async with asyncio.timeout(service.settings.idle):
            message = await _receive(camera.socket)
    except TimeoutError as err:
        raise Problem("timeout", "nothing came on the connection; connect again") from err
    facts: Any = {}
    if text := message.get("text"):
        try:
            facts = json.loads(text)
        except (ValueError, RecursionError):
            facts = None
        if not isinstance(facts, dict):
            raise Problem("bad_request", 'the first text is no JSON object; send {"top": 3}')
    if not (guard.right(facts.get("token")) or guard.right(given)):
        raise unauthorized()
    top = facts.get("top", _TOP)
    if not isinstance(top, int) or not 1 <= top <= 1000:
        raise Problem("bad_request", f"top is {top!r}; wanted a number from 1 to 1000")
    camera.top = top
    if data := message.get("bytes"):
        camera.take(data)


async def _receive(socket: WebSocket) -> dict[str, Any]:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    return dict(message)


async def _listen(camera: Camera) -> None:
    """Take frames as they come; texts after the first one mean nothing."""
    while True:
        message = await _receive(camera.socket)
        if data := message.get("bytes"):
            camera.take(data)


async def _decide(service: "Service", camera: Camera) -> None:
    """Look at the newest frame, tell what is decided, take the next newest one."""
    live = await service.cameras.live(service.first)
    state = live.start()
    loop = asyncio.get_running_loop()
    counted = 0
    while True:
        frame = await camera.next(service.settings.idle)
        image = await service.cameras.picture(frame.data)
        decision, state = await loop.run_in_executor(
            service.cameras.pool, live.push, image, frame.time, state
        )
        service.metrics.frames += 1
        service.metrics.dropped += camera.dropped - counted
        counted = camera.dropped
        if decision is not None:
            await camera.socket.send_text(json.dumps(_told(decision, frame, camera)))


def _told(decision: "Decision", frame: Frame, camera: Camera) -> dict[str, Any]:
    return {
        "time": round(decision.time, 4),
        "label": decision.label,
        "score": round(decision.probability, 6),
        "top": [{"label": k, "score": round(p, 6)} for k, p in decision.top[: camera.top]],
        "latency_ms": round(1000 * (monotonic() - frame.came), 2),
        "dropped": camera.dropped,
    }
