"""In place of a network: answers at once, or does what a hostile video makes a decoder do."""

import os
import signal
import time
from typing import Any


def look(job: dict[str, Any], row: dict[str, Any], path: str, data: bytes | None) -> dict[str, Any]:
    """By the name of the video."""
    if "kill" in path:
        os.kill(os.getpid(), signal.SIGKILL)
    if "hang" in path:
        time.sleep(60)
    if "fault" in path:
        return {"fault": "the weights are gone"}
    return {"found": {"label": str(os.getpid()), "windows": 1, "problem": None}}
