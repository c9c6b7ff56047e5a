"""A digest inside a safetensors file: any bit of it that turns is noticed when it is read.

The header's entry `sha256` is that of the whole file with this entry's own place full of zeros.
"""

import hashlib
import json
from collections.abc import Mapping

from safetensors.torch import save as to_bytes
from torch import Tensor

KEY = "sha256"
_BLANK = "0" * 64
_SKIP = len(KEY) + 4  # bytes of the entry before its value
_HEX = set("0123456789abcdef")


def sealed(tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> bytes:
    """The content of a safetensors file with a digest; the same content gives the same bytes.

    The library writes the entries of `__metadata__` in another order each time.
    """
    plain = to_bytes(dict(tensors))
    end = _end(plain)
    header = {"__metadata__": {**about, KEY: _BLANK}, **json.loads(plain[8:end])}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # values begin at a multiple of 8
    digest = hashlib.sha256(start := len(text).to_bytes(8, "little") + text)
    digest.update(memoryview(plain)[end:])
    place = start.find(_entry(_BLANK)) + _SKIP
    start = start[:place] + digest.hexdigest().encode() + start[place + 64 :]
    return start + plain[end:]


def check_seal(data: bytes, about: Mapping[str, str]) -> None:
    """Compare the digest, where there is one, with the content.

    Args:
        about: the header's `__metadata__`.
    Raises:
        ValueError: they differ.
    """
    if KEY not in about:
        if _stranger(about):
            raise ValueError("its sha256 stands under another name")
        return
    place = data.find(_entry(about[KEY]), 8, _end(data)) + _SKIP
    digest = hashlib.sha256()
    rest = memoryview(data)
    for part in (rest[:place], _BLANK.encode(), rest[place + 64 :]):
        digest.update(part)
    if digest.hexdigest() != about[KEY]:
        raise ValueError("its content does not match its sha256; some of it was altered")


def _entry(value: str) -> bytes:
    return f'"{KEY}":"{value}"'.encode()


def _end(data: bytes) -> int:
    """Where the header ends."""
    return 8 + int.from_bytes(data[:8], "little")


def _stranger(about: Mapping[str, str]) -> bool:
    """Whether a file of ours has an entry that is a digest in all but its name."""
    ours = any(key.startswith("pseudo3d") for key in about)
    return ours and any(len(v) == 64 and not set(v) - _HEX for v in about.values())
