"""Fetch a file over HTTP: resumed where it broke off, compared with its digest, put in place whole.

Only http and https are spoken, redirects included, and never from https down to http. Nothing is
fetched unless somebody asks by name.
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.published.record import Record

Progress = Callable[[int, int], None]
_CHUNK = 1 << 18
_TIMEOUT = 60  # s without a byte
_SCHEMES = ("http", "https")


@dataclass(frozen=True, kw_only=True)
class Digest:
    """What a file must hash to; the first digits may be all that is known."""

    algorithm: str  # as in hashlib
    digits: str

    def agrees(self, path: Path) -> bool:
        """Whether a file has this digest."""
        return hash_of(path, self.algorithm).startswith(self.digits.lower())


def digest_of(record: Record) -> Digest | None:
    """What a record's file hashes to, as far as anybody says."""
    if record.sha256 is not None:
        return Digest(algorithm="sha256", digits=record.sha256)
    return None if record.sha1 is None else Digest(algorithm="sha1", digits=record.sha1)


def default_folder() -> Path:
    """The user's cache folder: $XDG_CACHE_HOME/pseudo3d/weights, or ~/.cache/pseudo3d/weights."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pseudo3d" / "weights"


def hash_of(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def download(
    address: str, target: Path, digest: Digest | None = None, progress: Progress | None = None
) -> bool:
    """Fetch `address` to `target`; return False where the file was there already.

    What arrives goes to TARGET.part, which a later call continues if the server still has the same
    file (its ETag or Last-Modified is kept beside it). The file appears under its name only when
    it is complete and its digest agrees.

    Args:
        progress: called with the bytes so far and the bytes in all (0: unknown).
    Raises:
        WeightsError: another scheme, no such file, no connection, a page in place of the file, a
            digest that does not agree, a disk that refuses.
    """
    _check_scheme(address)
    if target.is_file() and (digest is None or digest.agrees(target)):
        return False
    part, stamp = (target.with_name(f"{target.name}.{end}") for end in ("part", "part.stamp"))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch(address, part, stamp, progress or (lambda done, total: None))
        _check(address, part, stamp, digest)
        part.replace(target)
        stamp.unlink(missing_ok=True)
    except (OSError, HTTPException) as err:
        raise _failed(address, part, err) from err
    return True


def _check_scheme(address: str, before: str = "") -> None:
    scheme = urlsplit(address).scheme
    if scheme not in _SCHEMES:
        raise WeightsError(f"{address}: scheme {scheme!r}; wanted https or http")
    if before == "https" and scheme != "https":
        raise WeightsError(f"{address}: a redirect from https to {scheme}, which is not followed")


class _Redirects(HTTPRedirectHandler):
    """Redirects to http and https only, and never down to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _check_scheme(newurl, urlsplit(req.full_url).scheme)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> OpenerDirector:
    """An opener that knows no files, no ftp, no data: URLs."""
    opener = OpenerDirector()
    handlers = (
        ProxyHandler, HTTPHandler, HTTPSHandler, _Redirects, HTTPErrorProcessor,
        HTTPDefaultErrorHandler,
    )  # fmt: skip
    for handler in handlers:
        opener.add_handler(handler())
    return opener


def _fetch(address: str, part: Path, stamp: Path, progress: Progress) -> None:
    """Append what is missing to `part`, or begin anew where it cannot be continued."""
    have = part.stat().st_size if part.is_file() and stamp.is_file() else 0
    headers = {"User-Agent": "pseudo3d", "Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": stamp.read_text("utf-8")}
    try:
        response = _opener().open(Request(address, headers=headers), timeout=_TIMEOUT)
    except HTTPError as err:
        err.close()
        if err.code != 416 or not have:  # 416: nothing is left to send, or the file has changed
            raise
        part.unlink()
        _fetch(address, part, stamp, progress)
        return
    if response is None:  # no handler took it
        raise WeightsError(f"{address}: cannot be opened; wanted an https address")
    with response:
        if response.headers.get_content_type() == "text/html":
            raise WeightsError(
                f"{address}: a web page came instead of the file; open it in a browser and give "
                "the file to `p3d weights check`"
            )
        where = response.headers.get("Content-Range", "")
        continued = response.status == 206 and where.startswith(f"bytes {have}-")
        _keep_stamp(response.headers, stamp)
        with part.open("ab" if continued else "wb") as file:
            total = _copy(response, file, have if continued else 0, progress)
            file.flush()
            os.fsync(file.fileno())
    if total and part.stat().st_size != total:  # two at once wrote into it
        part.unlink()
        raise ConnectionError("another process fetched the same file at the same time")


def _keep_stamp(headers: HTTPMessage, stamp: Path) -> None:
    """Note which version of the file this is; a weak ETag promises too little to continue."""
    tag = headers.get("ETag", "")
    mark = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    if mark:
        stamp.write_text(mark, "utf-8")
    else:
        stamp.unlink(missing_ok=True)


def _copy(response: IO[bytes], file: IO[bytes], have: int, progress: Progress) -> int:
    """Write what comes; return how long the whole file is, 0 where the server does not say."""
    length = response.headers.get("Content-Length")  # type: ignore[attr-defined]  # an HTTPResponse
    total = have + int(length) if length else 0
    done = have
    while chunk := response.read(_CHUNK):
        file.write(chunk)
        done += len(chunk)
        progress(done, total)
    if total and done != total:
        raise ConnectionError(f"the connection broke off after {done} of {total} bytes")
    return total


def _check(address: str, part: Path, stamp: Path, digest: Digest | None) -> None:
    """Compare the finished part; one that does not agree is removed, it cannot be continued."""
    if digest is None or digest.agrees(part):
        return
    found = hash_of(part, digest.algorithm)
    part.unlink()
    stamp.unlink(missing_ok=True)
    raise WeightsError(
        f"{address}: {digest.algorithm} of what came is {found}, wanted {digest.digits}; it was "
        "removed. The file was changed on the way or by its publisher."
    )


def _failed(address: str, part: Path, err: Exception) -> WeightsError:
    """The cause in a sentence, and what is kept."""
    if isinstance(err, HTTPError):
        return WeightsError(
            f"{address}: the server answers {err.code} {err.reason}. The file may have moved; get "
            "it by other means and use it from disk."
        )
    cause = err.reason if isinstance(err, URLError) else err
    have = part.stat().st_size if part.is_file() else 0
    kept = f" {have / 1e6:.1f} MB are kept, the same command goes on from there." if have else ""
    return WeightsError(f"{address}: {cause}.{kept} Without a network, use a file from disk.")
