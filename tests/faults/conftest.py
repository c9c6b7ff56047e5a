"""Six small videos, a network for them, and a disk that is soon full."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.writer import write_video
from pseudo3d.models import create_model
from pseudo3d.weights import save


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.csv of six videos of noise, 24 frames of 40 x 48 pixels; two classes, a val part."""
    home, rows = tmp_path_factory.mktemp("films"), ["path,label,split"]
    for i in range(6):
        noise = torch.randn(3, 24, 40, 48, generator=torch.Generator().manual_seed(i))
        write_video(home / f"{i}.mp4", (100 + 30 * (i % 2) + 25 * noise).clamp(0, 255).byte(), 12)
        rows.append(f"{i}.mp4,{'ab'[i % 2]},{'val' if i > 3 else 'train'}")
    (home / "manifest.csv").write_text("\n".join(rows) + "\n")
    return home / "manifest.csv"


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of two classes."""
    torch.manual_seed(0)
    net = create_model("p3d_nano", widths=(4, 8, 8, 8), stem_width=4, num_classes=2)
    pre = Preprocessing(frames=4, resize=18, size=(16, 16), mean=(0.5,) * 3, std=(0.3,) * 3)
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save(net, path, classes=("a", "b"), preprocessing=pre)
    return path


def _mount(folder: Path, *options: str) -> bool:
    """A small disk in memory at a folder; False where this user may not."""
    line = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    try:
        return os.geteuid() == 0 and subprocess.run(line, capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes a disk of so many kilobytes (`room`), given `ballast` of them; `ro` after filling it.

    Raises:
        pytest.skip.Exception: no disk can be mounted here.
    """
    mounted: list[Path] = []

    def make(room: int) -> Path:
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        if not _mount(folder, f"size={room}k"):
            pytest.skip("no disk in memory can be mounted here (that takes root)")
        mounted.append(folder)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
