"""The web service: routes, page, documentation."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from pseudo3d.errors import require
from pseudo3d.serve.settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

ABOUT = (
    "Recognition in videos and scans with a pseudo-3-D network. Research use only. Every error is "
    '`{"error": {"code", "message"}}`.'
)


def create_app(settings: Settings) -> "FastAPI":
    """Make the service; it loads its network in the background once it is started.

    Raises:
        ImportError: the libraries of the extra `serve` are not installed.
    Example:
        >>> uvicorn.run(create_app(Settings(weights=Path("weights.safetensors"))))
    """
    for module in ("fastapi", "python_multipart"):
        require(module, "serve")
    from fastapi import FastAPI
    from fastapi.staticfiles import StaticFiles

    from pseudo3d.serve.failures import add_failures
    from pseudo3d.serve.guard import Guard
    from pseudo3d.serve.routes import add_routes
    from pseudo3d.serve.service import Service
    from pseudo3d.serve.sockets import add_sockets

    service = Service(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = FastAPI(
        title="pseudo3d",
        version=version("pseudo3d"),
        description=ABOUT,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    guard: Any = Guard  # it is a class that Starlette makes with these values
    app.add_middleware(guard, settings=settings, metrics=service.metrics)
    add_failures(app, service)
    add_routes(app, service)
    add_sockets(app, service)
    static = files("pseudo3d.serve") / "static"
    app.mount("/static", StaticFiles(directory=str(static), check_dir=False), name="static")
    return app
