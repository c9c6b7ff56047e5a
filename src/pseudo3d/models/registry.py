"""Name -> (class, config): the one table behind `create_model` and `list_models`."""

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from fnmatch import filter as match
from typing import Any

from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.models.network import Network

_MODELS: dict[str, tuple[Callable[[Any], Network], Any]] = {}


def register(build: Callable[[Any], Network], configs: Mapping[str, Any]) -> None:
    """Enter each variant of a family; a name may be entered once."""
    if taken := _MODELS.keys() & configs.keys():
        raise ValueError(f"already registered: {sorted(taken)}")
    _MODELS.update({name: (build, cfg) for name, cfg in configs.items()})


def list_models(pattern: str = "*") -> list[str]:
    """Registered names that match a shell pattern, smaller depths first."""
    return match(_MODELS, pattern)


def default_config(name: str) -> Any:
    """The registered config of a model.

    Raises:
        Pseudo3dError: no such model.
    """
    if name not in _MODELS:
        raise Pseudo3dError(unknown("model", name, _MODELS))
    return _MODELS[name][1]


def create_model(name: str, **overrides: Any) -> Network:
    """Build a registered model with fresh weights.

    Args:
        name: one of `list_models()`.
        overrides: fields of the family's config, for example `num_classes=20`.
    Raises:
        Pseudo3dError: no such model.
        TypeError: no such field.
        ValueError: values that do not go together.
    Example:
        >>> create_model("p3d_nano", num_classes=5)(torch.zeros(1, 3, 8, 64, 64)).shape
        torch.Size([1, 5])
    """
    cfg = default_config(name)
    known = [f.name for f in fields(cfg)]
    for key in overrides:
        if key not in known:
            told = unknown(f"option of {name}", key, known)
            why = getattr(_MODELS[name][0], "never_causal", "") if key == "causal" else ""
            raise TypeError(f"{name} has no option 'causal': {why}" if why else told)
    net = _MODELS[name][0](replace(cfg, **overrides))
    net.name = name
    return net
