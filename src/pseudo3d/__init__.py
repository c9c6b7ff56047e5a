"""Recognition in video clips and volumes with pseudo-3-D residual networks.

The door is `__all__` below. Names are looked up when they are first used, so that importing the
package does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pseudo3d.engine.predict import predict as predict
    from pseudo3d.engine.predict import predict_many as predict_many
    from pseudo3d.engine.stream import Stream as Stream
    from pseudo3d.models import create_model as create_model
    from pseudo3d.models import list_models as list_models
    from pseudo3d.recycle.convert import convert as convert
    from pseudo3d.recycle.factorize import factorize as factorize
    from pseudo3d.runtime.lower import optimize as optimize
    from pseudo3d.weights import load as load
    from pseudo3d.weights import save as save

__version__: str

_HOME = {
    "Stream": "pseudo3d.engine.stream",
    "convert": "pseudo3d.recycle.convert",
    "create_model": "pseudo3d.models",
    "factorize": "pseudo3d.recycle.factorize",
    "list_models": "pseudo3d.models",
    "load": "pseudo3d.weights",
    "optimize": "pseudo3d.runtime.lower",
    "predict": "pseudo3d.engine.predict",
    "predict_many": "pseudo3d.engine.predict",
    "save": "pseudo3d.weights",
}

__all__ = [
    "Stream",
    "convert",
    "create_model",
    "factorize",
    "list_models",
    "load",
    "optimize",
    "predict",
    "predict_many",
    "save",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("pseudo3d.report.cards.revision").package_version()
    if name not in _HOME:
        raise AttributeError(f"module 'pseudo3d' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
