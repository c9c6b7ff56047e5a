"""What a run computes: two runs of one job over one list give the same rows."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.runtime.identity import file_digest

Task = Literal["predict", "features", "segments"]
TABLES: dict[str, str] = {  # of each task
    "predict": "predictions",
    "features": "features",
    "segments": "segments",
}


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task with all that decides its numbers, as plain values.

    Args:
        weights: a checkpoint or what `p3d export` wrote; every worker reads it at this path.
        identity: sha256 of that file, checked by every worker.
        options: of the task, as `eyes.Predict`, `eyes.Features` and `eyes.Segments` take them.
    """

    task: Task
    weights: str
    identity: str
    runtime: str = "auto"
    precision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise TypeError(unknown("task", self.task, get_args(Task)))

    @property
    def table(self) -> str:
        """Folder of the results."""
        return TABLES[self.task]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "options": dict(self.options)}

    def differences(self, before: Mapping[str, Any]) -> list[str]:
        """What another job has else, in words; where the weights lie does not matter."""
        now, found = self.to_dict(), list[str]()
        for name in (f.name for f in fields(self) if f.name not in ("weights", "options")):
            if now[name] != before.get(name):
                words = {"identity": f"other weights ({before.get('weights')})"}
                found.append(words.get(name, f"{name} {before.get(name)!r}"))
        then = before.get("options", {})
        return found + [
            f"{name} {then.get(name)!r}"
            for name in {**then, **self.options}
            if then.get(name) != self.options.get(name)
        ]


def make_job(
    task: Task,
    weights: str | Path,
    *,
    runtime: str = "auto",
    precision: str | None = None,
    **options: Any,
) -> Job:
    """A job with the weights of a file.

    Raises:
        Pseudo3dError: the file is not there.
    Example:
        >>> make_job("predict", "weights.safetensors", seconds=2.0).table
        'predictions'
    """
    return Job(
        task=task,
        weights=str(Path(weights).absolute()),
        identity=identity_of(weights),
        runtime=runtime,
        precision=precision,
        options=options,
    )


def identity_of(weights: str | Path) -> str:
    """sha256 of the file that holds a network, with the one that belongs to it.

    Raises:
        Pseudo3dError: it is not there.
    """
    path = Path(weights)
    try:
        return file_digest(path)
    except OSError as err:
        raise Pseudo3dError(
            f"{path}: {err.strerror or err}; every machine of a run needs the weights at this path"
        ) from err
