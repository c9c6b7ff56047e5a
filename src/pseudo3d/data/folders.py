"""A folder per class, perhaps under a folder per split, as labeled videos."""

from pathlib import Path
from unicodedata import normalize

from pseudo3d.data.item import Item
from pseudo3d.data.video import VIDEO_SUFFIXES
from pseudo3d.errors import ManifestError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def read_folder(root: Path) -> tuple[list[Item], list[Path]]:
    """Videos, and the files left out: no videos by their suffix, or in no folder of a class.

    Raises:
        ManifestError: folders of classes beside folders of splits.
    """
    tops = _folders(root)
    parts = [top for top in tops if top.name.lower() in SPLITS]
    if not parts:
        homes: list[tuple[Path, str | None]] = [(folder, None) for folder in tops]
        return _collected(homes, [root])
    skipped: list[Path] = []
    for top in tops:
        if top in parts:
            continue
        items, others = _collected([(top, None)], [])
        if items:
            raise ManifestError(
                f"{root} holds {parts[0].name}, a split, and beside it {top.name} with "
                f"{len(items)} videos; put the classes into {', '.join(p.name for p in parts)}, "
                "or all of them side by side"
            )
        skipped += others
    homes = [(folder, SPLITS[top.name.lower()]) for top in parts for folder in _folders(top)]
    items, others = _collected(homes, [root, *parts])
    return items, [*others, *skipped]


def _collected(
    homes: list[tuple[Path, str | None]], bare: list[Path]
) -> tuple[list[Item], list[Path]]:
    """Videos below the folders of classes; what else there is, and videos of no class."""
    items: list[Item] = []
    skipped: list[Path] = []
    for folder, split in homes:
        for file in sorted(folder.rglob("*")):
            inside = file.relative_to(folder).parts
            if not file.is_file() or any(part.startswith(".") for part in inside):
                continue
            if file.suffix.lower() in VIDEO_SUFFIXES:
                # the same name typed on two systems may differ in its bytes
                items.append(Item(path=file, label=normalize("NFC", folder.name), split=split))
            else:
                skipped.append(file)
    for folder in bare:
        files = sorted(p for p in folder.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES)
        skipped += [p for p in files if p.is_file() and not p.name.startswith(".")]
    return items, skipped


def _folders(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
