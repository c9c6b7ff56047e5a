"""Values that were given as text, for the fields of a dataclass."""

from collections.abc import Mapping
from types import UnionType
from typing import Any, get_args, get_type_hints

from pseudo3d.errors import Pseudo3dError


def refuse_text(kind: type, values: Mapping[str, Any], part: str = "") -> None:
    """Refuse text where a field takes a switch or a number: 'False' would count as true.

    Names that are no fields are left to whoever takes the values.

    Args:
        part: what stands before the names in the message, such as "augment.".
    Raises:
        Pseudo3dError: a value is text, and its field takes none.
    Example:
        >>> refuse_text(Augment, {"flip": "no"}, "augment.")
        Traceback (most recent call last):
        pseudo3d.errors.Pseudo3dError: augment.flip is 'no'; wanted true or false
    """
    hints = get_type_hints(kind)
    for name, value in values.items():
        hint = hints.get(name)
        kinds = set(get_args(hint) if isinstance(hint, UnionType) else (hint,))
        if isinstance(value, str) and kinds & {bool, int, float}:
            wanted = "true or false" if bool in kinds else "a number"
            raise Pseudo3dError(f"{part}{name} is {value!r}; wanted {wanted}")
