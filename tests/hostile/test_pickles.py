"""Files that would run code when they are unpickled: none of them ever does."""

import ast
import io
import os
import pickle
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

import pseudo3d
from pseudo3d.data.scans.manifest import read_scans
from pseudo3d.data.scans.read import read_scan
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.featureset import FeatureSet
from pseudo3d.features.fusion import read_table
from pseudo3d.recycle.files import read_state
from pseudo3d.weights import load

SRC = Path(pseudo3d.__file__).parent
MODULES = {"pickle", "marshal", "shelve", "joblib", "dill"}
SUSPECT = re.compile(rf"{'|'.join(MODULES)}|eval\(|exec\(|compile\(|\.load\(|shell=")


class Calls:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *given):
        self.made = function, given

    def __reduce__(self):
        return self.made


def written(mark):
    """Protocol 0 by hand: the opcodes INST and GLOBAL, as old tools and attackers write them."""
    return [
        f"cos\nsystem\n(S'mkdir {mark}'\ntR.".encode(),
        f"(S'mkdir {mark}'\nios\nsystem\n.".encode(),
        f'c__builtin__\neval\n(S\'__import__("os").mkdir("{mark}")\'\ntR.'.encode(),
    ]


def pickles(mark):
    """Pickles of every protocol, and of several ways to make Python do something."""
    found = written(mark)
    code = f"__import__('os').mkdir({mark!r})"
    for made in (Calls(eval, code), Calls(exec, code), Calls(os.mkdir, mark)):
        for protocol in range(6):
            found.append(pickle.dumps({"state_dict": {"conv1.weight": made}}, protocol))
            found.append(pickle.dumps(made, protocol))
    return found


def wrapped(code):
    """The same as a file of torch, old and new, and as arrays of numpy."""
    head = b"".join(
        pickle.dumps(v, 2) for v in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": 1})
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("archive/data.pkl", code)
        packed.writestr("archive/version", "3\n")
        packed.writestr("archive/byteorder", "little")
    text = "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1, 1)}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + code
    npz = io.BytesIO()
    with zipfile.ZipFile(npz, "w") as packed:
        for name in ("about", "paths", "features", "train_images", "train_labels", "affine"):
            packed.writestr(f"{name}.npy", npy)
    return {
        "a.pth": code,
        "b.pth": head + code,
        "c.pth": archive.getvalue(),
        "d.npy": npy,
        "e.npz": npz.getvalue(),
    }


READERS = (load, read_state, read_scan, read_scans, FeatureSet.load, read_table)


def test_no_reader_ever_runs_what_is_in_a_pickle(tmp_path):
    mark = tmp_path / "mark"
    tried = 0
    for code in pickles(str(mark)):
        for name, data in wrapped(code).items():
            path = tmp_path / name
            path.write_bytes(data)
            for read in READERS:
                with pytest.raises(Pseudo3dError):
                    read(path)
                assert not mark.exists(), (read, name, code)
                tried += 1
    assert tried == len(READERS) * 5 * (3 + 3 * 6 * 2)


def test_the_pickles_of_these_tests_do_run_when_they_are_let(tmp_path):
    mark = tmp_path / "mark"
    for code in pickles(str(mark)):
        pickle.loads(code)
        assert mark.exists(), code
        mark.rmdir()


def calls(tree):
    """Dotted names of the functions called in a file, with the names of their arguments."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}


def test_no_source_file_unpickles_or_evaluates():
    suspects = [path for path in sorted(SRC.rglob("*.py")) if SUSPECT.search(path.read_text())]
    assert len(suspects) > 10
    for path in suspects:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not MODULES & imported(tree), path
        for name, given in calls(tree):
            assert name not in ("eval", "exec", "compile", "yaml.load"), path
            if name == "torch.load":
                assert given.get("weights_only") == "True", path
            if name == "np.load":
                assert given.get("allow_pickle", "False") == "False", path
            assert given.get("shell", "False") == "False", path


def imported(tree):
    """First names of the modules that a file imports."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


def test_torch_still_refuses_what_its_safe_reader_does_not_know(tmp_path):
    """What our promise leans on."""
    path = tmp_path / "a.pth"
    torch.save({"a": np.dtype("u1"), "b": Calls(print, "x")}, path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
