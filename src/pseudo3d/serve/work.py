"""What decoders of uploads do: cut a video, look at a scan."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.engine.windows import Windows
from pseudo3d.serve.cutting import Cutting, cut
from pseudo3d.serve.original import Original
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Limits
from pseudo3d.serve.wire import Message


class Worker:
    """Turns jobs into messages.

    Args:
        first: how the service cuts videos, or which weights look at scans; its limits.
    """

    def __init__(self, first: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        self.limits = Limits(**first["limits"])
        self.original = Original.told(first)
        self._ready: Any = None
        self.how: Cutting | None = None
        if first["input"] == "video":
            self.how = Cutting(
                pre=Preprocessing.from_dict(first["preprocessing"]),
                plan=Windows(seconds=first["window"], hop=first["hop"]),
                trained=(first["trained"][0], first["trained"][1]),
                limits=self.limits,
            )

    def messages(self, job: Message) -> Iterator[Message]:
        """What a job gives; the last message ends it.

        Raises:
            Problem: the file is not what it should be, or goes beyond a limit.
            Pseudo3dError: it cannot be read.
        """
        path = Path(job.facts["path"])
        if not path.stat().st_size:
            raise Problem("unreadable", f"{path} is empty (0 bytes); send the file again")
        if self.how is None:
            from pseudo3d.serve.scans import look

            return look(path, self._scans(), job.facts, self.limits.memory)
        from pseudo3d.data.scans.read import sniff

        if sniff(path) is not None:
            raise Problem("unreadable", f"{path} is a scan; this network takes videos")
        return cut(path, self._fine(self.how) if job.facts.get("fine") else self.how)

    def _fine(self, how: Cutting) -> Cutting:
        """Always in windows, as `p3d predict --segments` cuts."""
        from pseudo3d.engine.segments import always_windows

        plan = always_windows(how.pre, how.trained[0], how.plan.seconds, how.plan.hop)
        return replace(how, plan=plan)

    def _scans(self) -> Any:
        """The network for scans, opened at the first one, maybe long after the service started."""
        if self._ready is None:
            from pseudo3d.engine.volumes.ready import ready

            self._ready = self.original.read(lambda: ready(self.original.path))
        return self._ready
