"""Start the web service and keep it until it is told to stop."""

import socket
from typing import TYPE_CHECKING

from pseudo3d.errors import Pseudo3dError, require
from pseudo3d.serve.settings import Settings

if TYPE_CHECKING:
    import uvicorn


def server(settings: Settings) -> "uvicorn.Server":
    """A server that is not started yet; `run` and tests start it.

    Raises:
        ImportError: the libraries of the extra `serve` are not installed.
    """
    for module in ("uvicorn", "websockets"):
        require(module, "serve")
    import uvicorn

    from pseudo3d.serve.app import create_app

    return uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="websockets-sansio",
            ws_max_size=settings.limits.picture_bytes,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=5,
            backlog=256,
        )
    )


def listen(settings: Settings) -> socket.socket:
    """The open door; taken before the network is loaded, so that a taken port is said at once.

    Raises:
        Pseudo3dError: the address cannot be had.
    """
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, settings.port))
        door.listen(256)
    except OSError as err:
        door.close()
        raise Pseudo3dError(
            f"{settings.host}:{settings.port} cannot be listened to: {err.strerror or err}; is "
            "another service there? Take another port, --port 0 takes any"
        ) from err
    door.set_inheritable(False)
    return door


def address(settings: Settings, door: socket.socket) -> str:
    """Where a browser finds the service."""
    host, port = door.getsockname()[:2]
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"


def run(settings: Settings, door: socket.socket) -> None:
    """Serve until SIGINT or SIGTERM."""
    server(settings).run(sockets=[door])
