"""Open what is watched, so that it leads nowhere else: to no other file, to no other address."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import av

from pseudo3d.data.decode import ANY_TEXT, open_stream
from pseudo3d.errors import VideoError
from pseudo3d.watch.sources import Source

OPEN_LIMIT, READ_LIMIT = 10.0, 10.0  # s until a source that does not answer counts as lost
_LISTS = {"concat", "dash", "hls", "imf", "sdp", "tty"}  # what FFmpeg takes texts for
_ASKED_FOR = {".m3u8": "hls", ".mpd": "dash"}  # lists, where the address itself says so
_WEB = "http,https,httpproxy,tcp,tls,crypto"  # what such a list may lead to


@contextmanager
def opened(source: Source) -> Iterator[tuple[Any, Any]]:
    """Open a source; give its container and its video stream (None when it has none).

    Raises:
        av.FFmpegError: it cannot be opened.
        VideoError: a playlist where none was asked for, or frames larger than is allowed.
    """
    if source.kind == "file":
        with open_stream(Path(source.url)) as found:
            yield found
        return
    with _container(source) as container:
        streams = container.streams.video
        if streams:
            streams[0].thread_type = "NONE"
        yield container, streams[0] if streams else None


def _container(source: Source) -> Any:
    try:
        return av.open(
            source.url,
            format=source.format,
            options=source.options | (guards(source.url) if source.kind == "stream" else {}),
            timeout=(OPEN_LIMIT, READ_LIMIT),
            **ANY_TEXT,
        )
    except av.error.ArgumentError as err:
        raise VideoError(
            "it answers with a playlist though its address does not end in .m3u8 or .mpd, or the "
            "address is wrong"
        ) from err


def guards(url: str) -> dict[str, str]:
    """Options of FFmpeg for an address; a camera that was taken over may answer with anything.

    A list of other addresses is opened only where the address says that it is one, and leads over
    the web only.
    """
    parts = urlsplit(url)
    web = parts.scheme.lower() in ("http", "https")
    asked = _ASKED_FOR.get(PurePosixPath(parts.path).suffix.lower()) if web else None
    refused = _LISTS - {asked}
    formats = [name for name in av.formats_available if not refused & set(name.split(","))]
    found = {"format_whitelist": ",".join(sorted(formats))}
    return found | {"protocol_whitelist": _WEB} if asked else found
