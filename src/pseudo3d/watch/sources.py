"""What can be watched: cameras, network streams, and files at their own speed."""

import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from pseudo3d.errors import Pseudo3dError

Kind = Literal["camera", "stream", "file"]
_SCHEMES = ("rtsp", "rtsps", "rtmp", "http", "https", "srt", "udp", "rtp", "tcp")
_NAMED = re.compile(r"([A-Za-z][\w-]*)=(.+)", re.S)
_CAMERAS = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
# Frames as they come, no queue of seconds: what is shown late is of no use here.
_PROMPT = {"fflags": "nobuffer", "flags": "low_delay", "analyzeduration": "1000000"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something that shows frames; `name` holds no password and is safe to print and to write."""

    name: str
    url: str
    kind: Kind
    loop: bool = False  # files: from the start again after the end

    @property
    def format(self) -> str | None:
        """Of FFmpeg, where the address does not say it."""
        return _CAMERAS.get(sys.platform) if self.kind == "camera" else None

    @property
    def options(self) -> dict[str, str]:
        """For FFmpeg."""
        if self.kind == "file":
            return {}
        tcp = {"rtsp_transport": "tcp"} if self.url.lower().startswith("rtsp") else {}
        return {**_PROMPT, **tcp}


def parse_source(text: str) -> Source:
    """Read what a user writes: a camera's number, an address, a file; `NAME=` in front names it.

    Raises:
        Pseudo3dError: neither of them.
        FileNotFoundError: no such file.
    """
    found = _parsed(text)
    return replace(found, name=printable(found.name))


def _parsed(text: str) -> Source:
    named = None if Path(text).exists() else _NAMED.fullmatch(text)
    name, place = named.groups() if named else ("", text)
    if place.isdecimal():
        return Source(name=name or f"camera{place}", url=_camera(int(place)), kind="camera")
    scheme = urlsplit(place).scheme.lower() if "://" in place else ""
    if scheme in _SCHEMES:
        return Source(
            name=name or _harmless(place).partition("://")[2].rstrip("/"), url=place, kind="stream"
        )
    if scheme:
        raise Pseudo3dError(
            f"{_harmless(place)}: cannot watch {scheme!r}; wanted a camera's number, a file, or an "
            f"address that starts with one of {', '.join(_SCHEMES)}"
        )
    if place.startswith("/dev/video"):
        return Source(name=name or Path(place).name, url=place, kind="camera")
    path = Path(place)
    if not path.is_file():
        raise FileNotFoundError(
            f"{place}: no such file; wanted a camera's number, a video file, or an address such as "
            f"rtsp://HOST/PATH (searched in {Path.cwd()})"
        )
    return Source(name=name or path.stem, url=place, kind="file")


def parse_sources(texts: list[str], *, loop: bool = False) -> list[Source]:
    """Several, each under a name of its own."""
    found: list[Source] = []
    for text in texts:
        source, taken = parse_source(text), {other.name for other in found}
        name, number = source.name, 2
        while name in taken:
            name, number = f"{source.name}-{number}", number + 1
        found.append(replace(source, name=name, loop=loop))
    return found


def _camera(number: int) -> str:
    if sys.platform == "linux":
        return f"/dev/video{number}"
    if sys.platform == "darwin":
        return str(number)
    raise Pseudo3dError(
        f"camera {number}: on this system cameras have no numbers FFmpeg knows; serve it as a "
        "stream and give its address"
    )


def printable(text: str) -> str:
    """What any file and terminal takes: bytes of a name that are not UTF-8 become \\udcXX."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _harmless(address: str) -> str:
    """An address without user, password and query, which may hold a key."""
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
