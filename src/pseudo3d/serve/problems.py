"""Everything a service answers that is no result: a code, one sentence, an HTTP status."""

from typing import Any, Literal

from pseudo3d.errors import Pseudo3dError

Code = Literal[
    "too_large", "unreadable", "busy", "not_ready", "timeout", "unauthorized", "bad_request",
    "internal",
]  # fmt: skip
STATUS: dict[Code, int] = {
    "too_large": 413,
    "unreadable": 422,
    "busy": 429,
    "not_ready": 503,
    "timeout": 504,
    "unauthorized": 401,
    "bad_request": 400,
    "internal": 500,
}
INTERNAL = "something failed inside the service, not your file; try again, or tell its operator"


class Problem(Pseudo3dError):
    """A request that is not answered; `retry` says after how many seconds to come back."""

    def __init__(
        self, code: Code, message: str, *, retry: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.retry = retry
        self.status = status or STATUS[code]

    def body(self) -> dict[str, Any]:
        """For JSON."""
        return {"error": {"code": self.code, "message": self.message}}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the answer."""
        return {} if self.retry is None else {"Retry-After": str(self.retry)}
