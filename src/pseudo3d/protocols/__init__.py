"""One file per benchmark: what is read, sampled and scored, as its paper says.

Options have the paper's values; every other value is told beside the score.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pseudo3d.errors import unknown

if TYPE_CHECKING:
    from pseudo3d.protocols.base import Benchmark

_HOME = {
    "activitynet": "activitynet:ActivityNet",
    "aslan": "aslan:Aslan",
    "dynamic_scene": "scenes:DynamicScene",
    "folds": "folds:Folds",
    "hmdb51": "hmdb51:HMDB51",
    "kinetics": "kinetics:Kinetics",
    "lists": "lists:Lists",
    "sports1m": "sports1m:Sports1M",
    "ucf101": "ucf101:UCF101",
    "yupenn": "scenes:Yupenn",
}


def names() -> list[str]:
    """Names of all protocols."""
    return sorted(_HOME)


def get(name: str, **options: Any) -> "Benchmark":
    """A protocol with these options; the others are the paper's.

    Raises:
        ValueError: no such protocol, or a value that does not fit.
        TypeError: no such option.
    Example:
        >>> get("ucf101", clips=5).run("data/ucf101", "weights.safetensors").figures
    """
    if name not in _HOME:
        raise ValueError(unknown("protocol", name, _HOME))
    from pseudo3d.protocols.options import build

    module, _, kind = _HOME[name].partition(":")
    return build(getattr(import_module(f"pseudo3d.protocols.{module}"), kind), options)
