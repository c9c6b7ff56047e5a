"""What is packed, in the order it is packed in."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.pack import groups_of, place_of
from pseudo3d.data.shards.encode import Encoded


@dataclass(frozen=True)
class Original:
    """An item on its way into a shard."""

    item: Item
    key: str  # what its sample is called
    place: str  # from the folder of the data on
    group: str | None

    @property
    def name(self) -> str:
        """What a user calls it; spans of one file differ."""
        start, end = self.item.start, self.item.end
        if start is None and end is None:
            return self.place
        return f"{self.place} [{start or 0.0:g} s to {'the end' if end is None else f'{end:g} s'}]"

    def facts(self, found: Encoded) -> dict[str, Any]:
        """What is known of its sample, as it stands beside it in the tar."""
        return {
            "label": self.item.label,
            "group": self.group,
            "split": self.item.split,
            "source": self.place,
            "start": self.item.start,
            "end": self.item.end,
            "frames": found.frames,
            "height": found.height,
            "width": found.width,
            "seconds": found.seconds,
            "sha256": hashlib.sha256(found.data).hexdigest(),
        }


def in_order(manifest: Manifest, home: Path) -> list[Original]:
    """The originals as if shuffled, by their names alone, so that every shard holds all classes."""
    groups, found = groups_of(manifest.items, home), []
    for item in manifest.items:
        place = place_of(item, home)
        facts = repr((place, item.start, item.end)).encode()
        stem = re.sub(r"[^A-Za-z0-9_-]+", "_", item.path.stem)[:48]
        key = f"{stem}-{hashlib.sha256(facts).hexdigest()[:16]}"
        found.append(Original(item, key, place, groups[item]))
    return sorted(found, key=lambda o: hashlib.sha256(o.key.encode()).digest())


def digest(originals: list[Original]) -> str:
    """Checksum of what is packed; a file that has changed since changes it."""
    total = hashlib.sha256()
    for o in originals:
        facts = (o.key, o.group, *o.item.stamp()[1:], o.item.label, o.item.split)
        total.update(repr(facts).encode())
    return total.hexdigest()
