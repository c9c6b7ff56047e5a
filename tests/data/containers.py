"""Videos in another container."""

from pathlib import Path

import av


def stream_of(source: Path, target: Path) -> Path:
    """The same video as an MPEG transport stream, which has no index at its end."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        into = write.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.stream = into
                write.mux(packet)
    return target
