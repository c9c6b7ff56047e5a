"""Take passwords, tokens and signatures out of texts that are kept."""

import re
from collections.abc import Sequence
from typing import Any

HIDDEN = "***"
_WORDS = "token|secret|passw|credential|signature|authorization|api[_.-]?key|access[_.-]?key"
_NAME = rf"[\w.-]*(?:{_WORDS})[\w.-]*"
_OPTION = re.compile(rf"--?{_NAME}", re.IGNORECASE)
_PAIR = re.compile(
    rf"((?:^|[?&;\s,'\"-]){_NAME}(?:=|: ?)(?:bearer |basic )?)[^&;\s,'\"]+", re.IGNORECASE
)
_QUERY = re.compile(r"([?&](?:sig|key|auth|pwd|sas)=)[^&#\s]+", re.IGNORECASE)  # short names
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/@\s]+@", re.IGNORECASE)


def masked_text(text: str) -> str:
    """A text without the passwords of addresses and the values of names such as `token`.

    Example:
        >>> masked_text("s3://me:pw@host/a?X-Amz-Signature=1f&part=2")
        's3://***@host/a?X-Amz-Signature=***&part=2'
    """
    text = _USER.sub(rf"\g<1>{HIDDEN}@", text)
    return _QUERY.sub(rf"\g<1>{HIDDEN}", _PAIR.sub(rf"\g<1>{HIDDEN}", text))


def masked(value: Any) -> Any:
    """A JSON value with every text in it masked, and whole values under secret names."""
    if isinstance(value, str):
        return masked_text(value)
    if isinstance(value, dict):
        return {
            key: HIDDEN if isinstance(v, str) and re.fullmatch(_NAME, key, re.I) else masked(v)
            for key, v in value.items()
        }
    return [masked(part) for part in value] if isinstance(value, list | tuple) else value


def masked_words(words: Sequence[str]) -> list[str]:
    """A command line's words; the word after an option such as `--token` is hidden, too."""
    kept, secret = [], False
    for word in words:
        kept.append(HIDDEN if secret and not word.startswith("--") else masked_text(word))
        secret = _OPTION.fullmatch(word) is not None
    return kept
