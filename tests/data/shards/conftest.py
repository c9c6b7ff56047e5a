"""A small data set, its shards, and a server of files that misbehaves on demand."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import torch

from pseudo3d.data.pack import Packed, Plan
from pseudo3d.data.shards.write import Sharding, pack_shards
from pseudo3d.data.video import write_video

SMALL = Plan(size=32)
FEW = Sharding(size=30_000, workers=0)  # two or three videos per shard


def film(path: Path, seed: int, count: int = 12) -> Path:
    """Noise: every video another, and none can be mistaken for another."""
    rng = torch.Generator().manual_seed(seed)
    frames = torch.randint(0, 256, (3, count, 32, 36), generator=rng).byte()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_video(path, frames, fps=10)
    return path


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of five videos, with groups and splits, one span twice, one broken file."""
    home = tmp_path_factory.mktemp("films")
    rows = ["path,label,group,split,start,end"]
    for i in range(9):
        name = f"{'ab'[i % 2]}/{i}.mp4"
        film(home / name, i, 10 + i)
        rows.append(f"{name},{'ab'[i % 2]},person {i // 3},{('train', 'val')[i > 5]},,")
    film(home / "long.mp4", 99, 20)
    rows += ["long.mp4,a,,train,0,0.5", "long.mp4,b,,train,0.5,"]
    (home / "broken.mp4").write_bytes(b"no video" * 50)
    rows.append("broken.mp4,b,person 0,train,,")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    return home


@pytest.fixture(scope="session")
def packed(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """The films in shards."""
    return pack_shards(films, tmp_path_factory.mktemp("packed") / "shards", SMALL, FEW)


@pytest.fixture
def shards(packed: Packed, tmp_path: Path) -> Path:
    """A copy of the shards, to be harmed."""
    return Path(shutil.copytree(packed.manifest.parent, tmp_path / "copy"))


@dataclass
class Server:
    """Files of a folder over HTTP."""

    root: Path
    url: str = ""
    mood: str = "well"  # or whole (ignores ranges), cut, short, broken
    turns: int = 10**9  # requests for tars that the mood lasts
    asked: list[str] = field(default_factory=list)  # "NAME RANGE"

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        """One request."""
        name = to.path.strip("/").rpartition("/")[2]
        where, wanted = self.root / name, to.headers.get("Range")
        self.asked.append(f"{name} {wanted}")
        if not where.is_file():
            to.send_error(404)
            return
        data, mood = where.read_bytes(), "well"
        if name.endswith(".tar") and to.command == "GET" and self.turns > 0:
            mood, self.turns = self.mood, self.turns - 1
        if mood == "broken":
            to.send_error(500)
            return
        if wanted and mood != "whole":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last or len(data)) + 1]
            part = part[:-1] if mood == "short" else part
            to.send_response(206)
            to.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            part = data
            to.send_response(200)
        to.send_header("Content-Length", str(len(part)))
        to.send_header("Accept-Ranges", "bytes")
        to.end_headers()
        if to.command == "GET":
            to.wfile.write(part[: len(part) // 2] if mood == "cut" else part)
        if mood == "cut":
            to.close_connection = True


@pytest.fixture
def server(shards: Path) -> Iterator[Server]:
    """The copy of the shards behind a server on the loopback."""
    found = Server(shards)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            found.answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        found.url = f"http://127.0.0.1:{http.server_port}/shards"
        thread = Thread(target=http.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield found
        finally:
            http.shutdown()
            thread.join()
