"""Which code this is: the package's version and the git revision of a folder."""

import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pseudo3d

_GIT_SECONDS = 10.0  # a status of a slow network disk is not waited for longer
_LOCAL = re.compile(r"\+.*?\bg([0-9a-f]{7,40})\b")  # of a version between two tags


def package_version() -> str:
    """Version of the installed package; made from the git tag when it was built or installed."""
    try:
        return version("pseudo3d")
    except PackageNotFoundError:
        return "not installed"


def revision(folder: Path) -> dict[str, Any] | None:
    """Commit of the git repository a folder belongs to, and whether tracked files differ from it.

    None where there is no repository, no git, or no commit.
    """
    commit = _git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    top = _git(folder, "rev-parse", "--show-toplevel") or str(folder)
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {
        "repository": Path(top).name,
        "commit": commit,
        "changed": None if changed is None else bool(changed),
    }


def _git(folder: Path, *words: str) -> str | None:
    """What git prints; None where it fails. Nothing is written, no monitor is started."""
    line = ["git", "-C", str(folder), "-c", "core.fsmonitor=false", *words]
    env = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(line, capture_output=True, timeout=_GIT_SECONDS, env=env, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def package_revision() -> dict[str, Any] | None:
    """Commit of the package's own code: of the checkout it runs from, else as the version says.

    A released version names no commit: its tag does (`v` and the version).
    """
    home = Path(pseudo3d.__file__).parent
    listed = _git(home, "ls-files", "--error-unmatch", "__init__.py")
    if listed is not None:  # a checkout, not merely installed somewhere below another repository
        return revision(home)
    found = _LOCAL.search(package_version())
    return {"repository": "pseudo3d", "commit": found[1], "changed": None} if found else None


def code_line() -> str:
    """`pseudo3d 0.2.0, revision 1a2b3c4d5e (changed)`: what `p3d --version` prints."""
    found = package_revision()
    told = f"pseudo3d {package_version().partition('+')[0]}"
    if found is None:
        return told
    changed = " (changed)" if found["changed"] else ""
    return f"{told}, revision {found['commit'][:10]}{changed}"
