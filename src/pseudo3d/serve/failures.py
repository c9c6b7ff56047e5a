"""Every error as `{"error": {"code", "message"}}`, and nothing of the inside of the service."""

import logging
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pseudo3d.errors import Pseudo3dError
from pseudo3d.serve.guard import refuse
from pseudo3d.serve.problems import INTERNAL, Problem

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

    from pseudo3d.serve.service import Service

_log = logging.getLogger(__name__)


class Refusal(Response):
    """An error, sent while the client may still be sending its upload."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(status_code=problem.status)
        self.problem = problem

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await refuse(self.problem, receive, send)


def add_failures(app: "FastAPI", service: "Service") -> None:
    """Answer every error in one form."""

    def refused(problem: Problem) -> Response:
        service.metrics.problems[problem.code] += 1
        return Refusal(problem)

    async def known(request: Request, err: Exception) -> Response:
        if isinstance(err, Problem):
            return refused(err)
        return refused(Problem("bad_request", str(err)))

    async def wrong_query(request: Request, err: Exception) -> Response:
        told = err.errors()[0] if isinstance(err, RequestValidationError) and err.errors() else {}
        name = ".".join(str(part) for part in told.get("loc", ())[1:])
        message = f"{name or 'the request'}: {told.get('msg', 'not understood')}; see /docs"
        return refused(Problem("bad_request", message))

    async def http(request: Request, err: Exception) -> Response:
        status = err.status_code if isinstance(err, HTTPException) else 400
        told = {
            404: f"there is nothing at {request.url.path}; see /docs",
            405: f"{request.method} does not work at {request.url.path}; see /docs",
        }.get(status, "the request cannot be answered; see /docs")
        return refused(Problem("bad_request", told, status=status))

    async def bug(request: Request, err: Exception) -> Response:
        service.metrics.problems["internal"] += 1
        return JSONResponse(Problem("internal", INTERNAL).body(), 500)

    app.add_exception_handler(Pseudo3dError, known)
    app.add_exception_handler(RequestValidationError, wrong_query)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)
