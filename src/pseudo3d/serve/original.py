"""The weights file as the service found it: read again only while it is still the same."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Any, TypeVar

from pseudo3d.serve.problems import Problem

Found = TypeVar("Found")


@dataclass(frozen=True)
class Original:
    """A service opens its file several times, hours apart; its answers must be of one network.

    The content counts, not the time: a copy of the same file over itself changes nothing.
    """

    path: Path
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "Original":
        """The file as it is now.

        Raises:
            OSError: it cannot be read.
        """
        return cls(path, _sha256(path))

    @classmethod
    def told(cls, facts: dict[str, Any]) -> "Original":
        """As `facts` passed it on, to a decoder."""
        return cls(Path(facts["weights"]), str(facts["sha256"]))

    @property
    def facts(self) -> dict[str, str]:
        """For a decoder."""
        return {"weights": str(self.path.resolve()), "sha256": self.sha256}

    def read(self, how: Callable[[], Found]) -> Found:
        """What `how` makes of the file.

        Raises:
            Problem: the file is another one now, whatever `how` made of that.
        """
        try:
            return how()
        finally:  # afterwards: then it was the same one all the time
            self._check()

    def _check(self) -> None:
        try:
            same = _sha256(self.path) == self.sha256
        except OSError:
            same = False
        if not same:
            raise Problem("not_ready", "the weights file was changed; restart the service")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
