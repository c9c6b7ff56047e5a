"""What stands before every request: who may ask, and what browsers may do with the answers."""

import hmac
import json
from ipaddress import ip_address
from socket import gethostname
from time import monotonic
from typing import TYPE_CHECKING, Any

from pseudo3d.serve.metrics import Metrics
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OPEN = {"/", "/model", "/health", "/docs", "/openapi.json", "/docs.css", "/favicon.ico"}
_LOCAL = {"localhost", "127.0.0.1", "::1"}
_FRAME = "/static/frame.html"  # where the viewer of a scan runs, one page with its own script
_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_FRAME_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
    "sandbox allow-scripts"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_DRAIN = 1.0  # s that a refused upload is read on, so that the client sees the answer
_DRAIN_BYTES = 64 * 2**20


class Guard:
    """Checks host, origin and token of a request, adds headers to the answer, counts it.

    A page on another site can send requests to a service on this machine: by its address, which the
    origin gives away, or by a name of its own that it lets point here, which the host gives away.
    An address in digits is nobody's to let point elsewhere.
    """

    def __init__(self, app: "ASGIApp", settings: Settings, metrics: Metrics) -> None:
        self.app, self.settings, self.metrics = app, settings, metrics
        self._names = _names(settings)
        self._public = (settings.public_host or "").lower()

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = monotonic(), 0
        headers = _security(scope["path"])

        async def answer(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *headers]
            await send(message)

        try:
            self.check(scope)
            self.check_token(scope)
        except Problem as problem:
            self.metrics.problems[problem.code] += 1
            await refuse(problem, receive, answer)
        else:
            await self.app(scope, receive, answer)
        finally:
            self.metrics.request(self._known(scope), status, monotonic() - began)

    async def _socket(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        try:
            self.check(scope)
        except Problem as problem:
            self.metrics.problems[problem.code] += 1
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": problem.message[:100]})
            return
        await self.app(scope, receive, send)

    def _known(self, scope: "Scope") -> str:
        """The path if it is one of the service's: clients must not fill the metrics with names."""
        route = scope.get("route")
        return str(getattr(route, "path", "other")) if route is not None else "other"

    def check(self, scope: "Scope") -> None:
        """Host and origin.

        Raises:
            Problem: the request comes from another site, or by a name this service does not have.
        """
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if not self._is_ours(_hostname(host)):
            raise Problem(
                "bad_request",
                f"host {host!r} is no name of this service; use http://127.0.0.1 on its machine, "
                "its address in digits, or a name it was started with (--public-host)",
                status=421,
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        safe = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if origin and not safe and origin.partition("://")[2] not in (host, self._public or host):
            raise Problem(
                "unauthorized",
                f"a page of {origin!r} may not use this service; open the service's own page",
                status=403,
            )

    def _is_ours(self, name: str) -> bool:
        """Whether a page that was loaded under this name may be the service's own."""
        if name in self._names:
            return True
        if self.settings.loopback:
            return False
        return self.settings.token is not None or _is_address(name)  # others lack the token

    def check_token(self, scope: "Scope") -> None:
        """Raises: Problem: a token is wanted, and another one or none came."""
        path = scope["path"]
        if path in _OPEN or path.startswith("/static/"):
            return
        given = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        kind, _, token = given.partition(" ")
        if not self.right(token if kind.lower() == "bearer" else ""):
            raise unauthorized()

    def right(self, token: Any) -> bool:
        """Whether a token is the right one, or none is wanted."""
        wanted = self.settings.token
        if wanted is None:
            return True
        known = isinstance(token, str) and token.isascii()  # as all tokens are, see `Settings`
        return known and hmac.compare_digest(token, wanted)


def unauthorized() -> Problem:
    """The answer to a wrong token."""
    return Problem(
        "unauthorized",
        "this service wants its token; send the header 'Authorization: Bearer TOKEN'",
    )


def _names(settings: Settings) -> set[str]:
    """What the service is called, beside its address."""
    names = {*_LOCAL, settings.host.strip("[]").lower()}
    if settings.public_host is not None:
        names.add(_hostname(settings.public_host))
    if not settings.loopback:
        here = gethostname().lower()
        short = here.partition(".")[0]
        names |= {here, short, f"{short}.local"}
    return names


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _hostname(host: str) -> str:
    """Without the port, and without the brackets of an IPv6 address."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()


def _security(path: str) -> list[tuple[bytes, bytes]]:
    policy = _FRAME_POLICY if path == _FRAME else _POLICY
    found = {**_HEADERS, "Content-Security-Policy": policy}
    if not path.startswith("/static/"):
        found["Cache-Control"] = "no-store"
    else:
        found["Cache-Control"] = "no-cache"  # asked again each time: an upgrade shows at once
    return [(k.lower().encode(), v.encode()) for k, v in found.items()]


async def refuse(problem: Problem, receive: "Receive", send: "Send") -> None:
    """Answer with an error while the client may still be sending.

    Closing at once would reset the connection, and the client would see that instead of the
    sentence; so the answer is complete before the rest of the request is thrown away.
    """
    body = json.dumps(problem.body()).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        *((k.lower().encode(), v.encode()) for k, v in problem.headers.items()),
    ]
    if problem.code == "unauthorized" and problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await _drain(receive)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drain(receive: "Receive") -> None:
    """Throw away what a client still sends, for a moment."""
    import asyncio

    left = _DRAIN_BYTES
    try:
        async with asyncio.timeout(_DRAIN):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body", False):
                    return
    except TimeoutError:
        return
