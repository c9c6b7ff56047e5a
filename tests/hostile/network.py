"""No way out of this machine: what asks for one fails the test that made it ask."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import pytest

HERE = (None, "", "localhost", "ip6-localhost", socket.gethostname())


def is_here(host: Any) -> bool:
    """Whether a name or an address means this machine."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in HERE:
        return True
    try:
        found = ip_address(str(name).partition("%")[0])
    except ValueError:
        return False
    return found.is_loopback or found.is_unspecified


@contextmanager
def alone(*, loopback: bool = True) -> Iterator[None]:
    """Fail whatever looks up or connects to another machine.

    Args:
        loopback: allow connections to this one.
    """

    def check(host: Any) -> None:
        if not (loopback and is_here(host)):
            pytest.fail(f"the network was asked for: {host!r}")

    ways = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}
    look_up = socket.getaddrinfo

    def guarded(name: str) -> Callable[[socket.socket, Any], Any]:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX:
                check(address[0])
            return ways[name](self, address)

        return connect

    def getaddrinfo(host: Any, *given: Any, **named: Any) -> Any:
        check(host)
        return look_up(host, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        for name in ways:
            patch.setattr(socket.socket, name, guarded(name))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield
