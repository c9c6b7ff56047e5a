"""The house keeps its shape: which part may import which, file sizes, nothing tied to a machine."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
FILES = sorted((SRC / "pseudo3d").rglob("*.py"))
LOWER = {"models", "recycle", "weights", "data", "runtime", "scores"}

# What each part must not import of the package ("*" is the root, the lazy door). Arrows run
# cli, serve -> engine, protocols, explain, report -> models, recycle, data, runtime, weights -> nn.
UPPER = {
    "engine", "features", "protocols", "explain", "report", "bench", "demo", "watch", "serve",
    "cluster", "cli",
}  # fmt: skip
FORBIDDEN = {
    "nn": {*LOWER, *UPPER, "*"},
    "models": {"data", "scores", *UPPER},
    "recycle": UPPER,
    "weights": UPPER,
    "data": {"models", "recycle", "weights", "scores", *UPPER},
    "scores": {"nn", *(LOWER - {"scores"}), *UPPER, "*"},
    "runtime": UPPER,
    "engine": {"features", "protocols", "explain", "bench", "demo", "cli", "watch", "serve"},
    "features": {"protocols", "explain", "bench", "demo", "cli", "watch", "serve"},
    "protocols": {"explain", "bench", "demo", "cli", "watch", "serve"},
    "explain": {"demo", "cli", "watch", "serve"},
    "report": {"explain", "demo", "cli", "watch", "serve"},
    "bench": {"engine", "explain", "demo", "cli", "watch", "serve"},
    "demo": {"cli", "watch", "serve"},
    "watch": {"features", "protocols", "explain", "bench", "demo", "cli", "serve"},
    "serve": {"cli"},
    "cluster": {"cli"},
    "lock": {"nn", *LOWER, *UPPER, "*"},
    "values": {"nn", *LOWER, *UPPER, "*"},
    "errors": {"nn", *LOWER, *UPPER, "*"},
}


def part_of(module):
    """`pseudo3d.nn.conv` -> `nn`; `pseudo3d` itself -> `*`."""
    return module.split(".")[1] if "." in module else "*"


def is_module(name):
    """Whether a dotted name of the package is a file or folder of it."""
    path = SRC.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").is_file()


def imports(tree, module, is_package):
    """Dotted names of all imports in a file, those inside functions too, relative ones resolved."""
    here = module.split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = node.level - is_package
            base = here[: len(here) - up] if node.level else []
            source = ".".join([*base, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield inner if source.startswith("pseudo3d") and is_module(inner) else source


def imports_of(path):
    names = path.relative_to(SRC).with_suffix("").parts
    package = names[-1] == "__init__"
    module = ".".join(names[:-1] if package else names)
    found = set(imports(ast.parse(path.read_text(encoding="utf-8")), module, package))
    return module, found


def wrong_arrows(module, found):
    ours = {part_of(name) for name in found if name.split(".")[0] == "pseudo3d"}
    return sorted(ours & FORBIDDEN.get(part_of(module), set()))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_imports_run_one_way(path):
    module, found = imports_of(path)
    assert wrong_arrows(module, found) == [], f"{module} must not import these parts"


@pytest.mark.parametrize(
    ("module", "line", "wrong"),
    [
        ("pseudo3d.nn.conv", "import pseudo3d.data", ["data"]),
        ("pseudo3d.nn.conv", "import pseudo3d", ["*"]),
        ("pseudo3d.nn.conv", "from pseudo3d.errors import Pseudo3dError", []),
        ("pseudo3d.nn.conv", "from .blocks import A", []),
        ("pseudo3d.nn.conv", "from ..errors import unknown", []),
        ("pseudo3d.models.p3d", "from pseudo3d import data", ["data"]),
        ("pseudo3d.models.p3d", "def f():\n    from .. import data", ["data"]),
        ("pseudo3d.data.video", "from ..models import registry", ["models"]),
        ("pseudo3d.report.plots", "from pseudo3d.cli import main", ["cli"]),
        ("pseudo3d.cli.main", "from pseudo3d.engine import train", []),
    ],
)
def test_the_check_sees_every_form_of_import(module, line, wrong):
    assert wrong_arrows(module, set(imports(ast.parse(line), module, False))) == wrong


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_torchvision_and_what_needs_it_are_never_imported(path):
    roots = {name.split(".")[0] for name in imports_of(path)[1]}
    assert not roots & {"torchvision", "timm", "pytorch_grad_cam", "streaming"}


@pytest.mark.parametrize("module", ["pseudo3d", "pseudo3d.cli.main", "pseudo3d.cli.doctor"])
def test_importing_the_door_and_the_command_line_leaves_torch_alone(module):
    if find_spec(module) is None:
        pytest.skip(f"{module} does not exist yet")
    heavy = "{'torch', 'lightning', 'av', 'numpy', 'matplotlib'}"
    code = f"import sys, {module}; print(*sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_no_source_file_has_more_than_300_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


def text_files():
    """Files of the repository that are ours and readable as text."""
    kept = [p for p in ROOT.iterdir() if p.is_file()]
    for folder in ("src", "tests", "docs", "benchmarks", "examples", ".ci"):
        kept += [p for p in (ROOT / folder).rglob("*") if p.is_file()]
    skipped = {".pyc", ".png", ".jpg", ".gif", ".mp4", ".npz", ".safetensors", ".svg"}
    return [p for p in kept if p.suffix not in skipped and "__pycache__" not in p.parts]


# A path from the root of somebody's machine; "../data/" and "https://host/home/" are none.
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:work|root|home|Users|mnt|scratch)/")


def test_no_file_holds_a_path_of_somebodys_machine():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in text_files()
        for number, line in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "hit"),
    [
        ("see " + "/wo" + "rk/x", True),
        ('"' + "/ro" + "ot/x", True),
        ("../work/x", False),
        ("https://example.org/home/x", False),
        ("homework/x", False),
    ],
)
def test_machine_paths_are_told_from_others(text, hit):
    assert bool(MACHINE_PATH.search(text)) is hit
