"""What a result is made with: code, versions, machine, command, files and data, as plain values."""

import hashlib
import json
import os
import platform
import re
import shlex
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from pseudo3d.bench.machine import machine
from pseudo3d.data.manifest import Manifest
from pseudo3d.report.cards.revision import package_revision, package_version, revision
from pseudo3d.report.cards.secrets import masked, masked_words

FORMAT = 1
_WORKERS_EXTRAS = ("dev", "docs", "peers", "browser")  # for those who work on the project
_ENVIRONMENT = (
    "CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS",
    "MKL_NUM_THREADS", "PYTHONHASHSEED", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_JOB_ID",
    "SLURM_NTASKS", "TORCHELASTIC_RESTART_COUNT",
)  # fmt: skip
_CONTENT_BYTES = 256 * 2**20  # data up to here are hashed whole: under a second


def provenance(**given: Any) -> dict[str, Any]:
    """Code, packages, machine and command of this process, with what is given.

    Passwords and tokens in the command and in addresses are masked.

    Args:
        given: what only the run knows, as plain values: `seeds`, `data` (see `describe_data`),
            `inputs` (see `describe_file`), ...
    """
    here, own = revision(Path.cwd()), package_revision()
    facts = {
        "format": FORMAT,
        "command": command_line(),
        "folder": str(Path.cwd()),
        "pseudo3d": {"version": package_version(), "revision": own},
        "revision": here,  # of the folder that the command was given in
        "packages": _packages(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "machine": machine(),
        **_torch(),
        "environment": {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
    }
    return masked({**facts, **given})


def command_line() -> str:
    """What was typed, without passwords; processes that `p3d` starts name it, too."""
    name = Path(sys.argv[0]).name
    if name in ("-c", "-m") and "pseudo3d.cli.main" in sys.modules:
        name = "p3d"
    return shlex.join(masked_words([name, *sys.argv[1:]]))


def _packages() -> dict[str, str]:
    """Versions of what the package depends on, optional ones where they are installed."""
    found = {}
    with suppress(PackageNotFoundError):
        for line in requires("pseudo3d") or ():
            name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
            extra = re.search(r"extra\s*==\s*['\"](\w+)", line)
            if extra is None or extra[1] not in _WORKERS_EXTRAS:
                with suppress(PackageNotFoundError):
                    found[name] = version(name)
    return dict(sorted(found.items()))


def _torch() -> dict[str, Any]:
    """What torch computes with; nothing where the command did not need it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    cuda = torch.cuda.is_available()
    return {
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] * cuda,
        "cuda": torch.version.cuda if cuda else None,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def describe_file(path: str | Path) -> dict[str, Any]:
    """A file that went in, such as weights: name, bytes and sha256; the name alone of what is none.

    Example: `random:p3d50`, a name of weights that are made up, is no file.
    """
    path = Path(path)
    if not path.is_file():
        return {"path": str(path)}
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": digest}


def describe_data(
    manifest: Manifest, address: str | Path | None = None, part: str | None = None
) -> dict[str, Any]:
    """Labeled files that went in, by hashes that are the same wherever the files lie.

    `sha256` is of the sorted list: name below the common folder, bytes, label, group, split, span
    and target of each. `content_sha256` is of the bytes, too; None where they are more than 256 MB
    and nobody has hashed them (shards carry the hashes of what is in them).

    Args:
        address: where the list or folder was read from, to find it again.
        part: which part of what is there `manifest` is, in words; None is all of it.
    """
    homes = {str(item.path.absolute().parent) for item in manifest.items}
    base = Path(os.path.commonpath(homes)) if homes else Path()
    rows, sizes = [], {}
    for item in manifest.items:
        with suppress(OSError):  # a file that is gone has no size, and stands in the list
            sizes[item.path] = item.size()
        mask = getattr(item, "mask", None)
        rows.append([
            _below(base, item.path), sizes.get(item.path), item.label, item.group, item.split,
            item.start, item.end, None if mask is None else _below(base, mask),
            *(getattr(item, name, None) for name in ("value", "array", "index", "sha256")),
        ])  # fmt: skip
    listed = sorted(json.dumps(row) for row in rows)
    return {
        "address": None if address is None else str(address),
        "part": None if part == "all" else part,
        "items": len(manifest.items),
        "files": len({item.path for item in manifest.items}),
        "bytes": sum(sizes.values()),
        "classes": len(manifest.classes),
        "sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest(),
        "content_sha256": _content(manifest, base, sum(sizes.values())),
    }


def _below(base: Path, path: Path) -> str:
    home = path.absolute()
    return (home.relative_to(base) if home.is_relative_to(base) else home).as_posix()


def _content(manifest: Manifest, base: Path, total: int) -> str | None:
    """Hash of the hashes of the files."""
    digests: dict[str, str] = {}
    for item in manifest.items:
        paths = [p for p in (item.path, getattr(item, "mask", None)) if p is not None]
        known = getattr(item, "sha256", None)
        if known is None and (total > _CONTENT_BYTES or not all(p.is_file() for p in paths)):
            return None
        for path in paths:
            name = _below(base, path)
            if name not in digests:
                digests[name] = known or describe_file(path)["sha256"]
    lines = [f"{digest}  {name}" for name, digest in sorted(digests.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
