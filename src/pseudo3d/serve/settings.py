"""What a service allows and where it listens; the defaults are safe."""

import re
from dataclasses import asdict, dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.runtime.runner import Runtime

MiB = 2**20
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")  # as browsers send it


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one upload may cost; what goes beyond is refused with a sentence."""

    upload_bytes: int = 200 * MiB
    seconds: float = 900.0  # of video
    frames: int = 60_000
    pixels: int = 4096 * 2304  # of a frame
    picture_bytes: int = 4 * MiB  # a camera's frame
    memory: int = 1024 * MiB  # that a decoder may take on top of its libraries
    decode_seconds: float = 60.0  # that the service waits for a decoder, over a whole file

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise Pseudo3dError(f"limit {name} is {value!r}; wanted a number above 0")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service runs.

    Raises:
        Pseudo3dError: values that do not go together, such as an open door without a token.
    """

    weights: Path
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any that is free
    public_host: str | None = None  # NAME or NAME:PORT in the address that users open, of a proxy
    token: str | None = None
    insecure: bool = False  # listen to other machines without a token
    limits: Limits = field(default_factory=Limits)
    queue: int = 64  # requests inside at once, from their first byte to the answer
    streams: int = 8  # cameras at once
    decoders: int = 2  # processes
    batch: int = 8  # clips
    timeout: float = 300.0  # s for a whole request once it is uploaded
    idle: float = 20.0  # s without a byte of an upload, or a frame of a camera
    window: float | None = None  # s; as `p3d predict`
    hop: float | None = None  # s
    runtime: "Runtime" = "auto"
    precision: Literal["fp32", "bf16"] | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("queue", "streams", "decoders", "batch", "timeout", "idle"):
            if not getattr(self, name) > 0:
                raise Pseudo3dError(f"{name} is {getattr(self, name)!r}; wanted a number above 0")
        if not 0 <= self.port < 65536:
            raise Pseudo3dError(f"port is {self.port}; wanted 0 to 65535")
        self._check_token()
        if self.public_host is not None and not _HOST.fullmatch(self.public_host.lower()):
            raise Pseudo3dError(
                f"public host is {self.public_host!r}; wanted the name in the address that users "
                "open, without https:// and path, as clips.example.org or clips.example.org:8443"
            )
        if not self.loopback and self.token is None and not self.insecure:
            raise Pseudo3dError(
                f"host {self.host!r} lets other machines in, and there is no token; set one "
                "(P3D_TOKEN=... or --token-file), stay with --host 127.0.0.1, or say --insecure"
            )

    def _check_token(self) -> None:
        if self.token is None:
            return
        if len(self.token) < 8:
            raise Pseudo3dError("the token is shorter than 8 characters; take a longer one")
        # what clients make of other characters in a header differs, and spaces at its ends get lost
        plain = self.token.isascii() and self.token.isprintable()
        if not plain or self.token != self.token.strip():
            raise Pseudo3dError(
                "the token holds a control character, a letter beyond ASCII, or a space at an end, "
                "which not every client can send; take letters, digits and signs as - and _"
            )

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    def public_limits(self) -> dict[str, Any]:
        """What a client may know."""
        names = ("upload_bytes", "seconds", "frames", "pixels")
        return {name: getattr(self.limits, name) for name in names}
