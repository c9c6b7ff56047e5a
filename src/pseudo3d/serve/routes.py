"""What can be asked over HTTP."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Query
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
)

from pseudo3d.serve.documents import FORM, page
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.schema import Features, Health, ModelCard, Prediction, Segments
from pseudo3d.serve.tasks import Asked, features, prediction, segments
from pseudo3d.serve.upload import Upload, uploaded

if TYPE_CHECKING:
    from fastapi import FastAPI

    from pseudo3d.serve.service import Service

Found = TypeVar("Found")
Work = Callable[["Service", Upload], Coroutine[Any, Any, dict[str, Any]]]
Top = Annotated[int, Query(ge=1, le=1000, description="Classes to list.")]
_GONE = 499  # nobody reads it; for the metrics


def add_routes(app: "FastAPI", service: "Service") -> None:
    """Enter all of them."""
    _add_pages(app)
    _add_facts(app, service)
    _add_uploads(app, service)


def _add_pages(app: "FastAPI") -> None:
    home = files("pseudo3d.serve")

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return FileResponse(str(home / "static" / "index.html"))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    async def style() -> Response:
        return Response((home / "docs.css").read_text("utf-8"), media_type="text/css")


def _add_facts(app: "FastAPI", service: "Service") -> None:
    @app.get("/model", summary="What the network is", response_model=ModelCard)
    async def model() -> Response:
        return JSONResponse(service.model.facts())

    @app.get("/health", summary="Whether it is ready", response_model=Health)
    async def health() -> Response:
        status = service.model.status
        if status == "failed":
            return JSONResponse({"status": status, "error": service.model.error}, 503)
        return JSONResponse({"status": status if service.started else "loading"})

    @app.get(
        "/metrics", summary="Counts and times for Prometheus", response_class=PlainTextResponse
    )
    async def metrics() -> Response:
        text = service.metrics.text(service.state())
        return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_uploads(app: "FastAPI", service: "Service") -> None:
    @app.post(
        "/predict", summary="What happens in a video, or what a scan shows",
        response_model=Prediction, openapi_extra=FORM,
    )  # fmt: skip
    async def predict(
        request: Request, top: Top = 5, explain: bool = False, segments: bool = False,
        series: Annotated[str | None, Query(max_length=200)] = None,
        index: Annotated[int | None, Query(ge=0)] = None,
    ) -> Response:  # fmt: skip
        """Classes with probabilities for the whole and for each window of a long video.

        `explain` adds what the network looked at, in time and in the picture; `segments` adds
        stretches of one class. A scan gets its curve over slices and a page to view it; `series`
        and `index` choose of a file with several.
        """
        asked = Asked(top=top, explain=explain, segments=segments, series=series, index=index)
        return await _answered(service, request, partial(prediction, asked=asked))

    @app.post(
        "/segments", summary="Start, end and label of what happens in a long video",
        response_model=Segments, openapi_extra=FORM,
    )  # fmt: skip
    async def cut(request: Request) -> Response:
        """The stretches alone, without the windows they are made of."""
        return await _answered(service, request, segments)

    @app.post(
        "/features", summary="What a layer says of a video",
        response_model=Features, openapi_extra=FORM,
    )  # fmt: skip
    async def rows(
        request: Request,
        layer: Annotated[str, Query(max_length=100)] = "pool5",
        windows: bool = False,
    ) -> Response:
        """The mean over all clips; with `windows`, one row per window."""
        work = partial(features, layer=layer, windows=windows)
        return await _answered(service, request, work)


async def _answered(service: "Service", request: Request, work: Work) -> Response:
    """Take the upload, do the work with it, forget it when the client leaves."""
    how = service.settings
    async with (
        service.place(),
        uploaded(request, service.folder, how.limits.upload_bytes, how.idle) as upload,
    ):
        found = await _while_there(service, request, work(service, upload))
    return Response(status_code=_GONE) if found is None else JSONResponse(found)


async def _while_there(
    service: "Service", request: Request, work: Coroutine[Any, Any, Found]
) -> Found | None:
    """What the work gives; None, and the work called off, when the client has left.

    Raises:
        Problem: it takes longer than the service allows.
    """
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(_left(request))
    try:
        await asyncio.wait(
            {doing, leaving},
            timeout=service.settings.timeout,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if doing.done():
            return doing.result()
        if leaving.done():
            service.metrics.gone += 1
            return None
        raise Problem(
            "timeout",
            f"the answer takes longer than {service.settings.timeout:g} s; send a shorter video, "
            "or come back when fewer others ask",
        )
    finally:
        for task in (doing, leaving):
            task.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
