"""A release is made of a tag alone, and what it consists of works where nothing else is."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
WHO = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


def git(folder, *words):
    line = ["git", "-C", str(folder), *WHO, *words]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout


def release(folder, *words, timeout=60):
    env = {**os.environ, "PYTHON": sys.executable, "DIST": str(folder / "dist")}
    line = ["bash", str(folder / ".ci" / "release"), *words]
    return subprocess.run(line, capture_output=True, text=True, env=env, timeout=timeout)


@pytest.fixture
def small(tmp_path):
    """A repository that holds the script and nothing to build."""
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "release", tmp_path / ".ci")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_release_needs_a_tag_and_nothing_changed(small):
    untagged = release(small)
    assert untagged.returncode == 1
    assert "HEAD carries no tag such as v1.2.3" in untagged.stderr
    git(small, "tag", "v1.2.3")
    (small / "new.txt").write_text("new")
    changed = release(small)
    assert changed.returncode == 1
    assert "differs from v1.2.3" in changed.stderr
    assert not (small / "dist").exists()


def test_archives_of_the_repository_carry_its_version(tmp_path):
    for name in (".gitattributes", ".git_archival.txt"):
        shutil.copy(ROOT / name, tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    git(tmp_path, "tag", "v1.2.3")
    git(tmp_path, "archive", "-o", "a.tar", "HEAD")
    with tarfile.open(tmp_path / "a.tar") as archive:
        text = archive.extractfile(".git_archival.txt").read().decode()
    assert "describe-name: v1.2.3" in text


def test_every_file_of_the_package_that_is_no_code_is_in_the_repository():
    assert (ROOT / "src/pseudo3d/py.typed").is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"


@pytest.mark.slow
def test_a_release_is_built_installed_and_tried_in_a_clean_environment(tmp_path):
    """Needs a package index and minutes; takes the last commit, not what is changed since."""
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    git(folder, "tag", "-f", "v99.1.2")
    done = release(folder, timeout=1800)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "pseudo3d 99.1.2: help, doctor, predict" in done.stdout
    dist = folder / "dist"
    names = {path.name for path in dist.iterdir()}
    wheel, bom = "pseudo3d-99.1.2-py3-none-any.whl", "pseudo3d-99.1.2.cdx.json"
    assert names == {wheel, bom, "pseudo3d-99.1.2.tar.gz", "SHA256SUMS"}
    for line in (dist / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((dist / name).read_bytes()).hexdigest() == digest
    inside = ZipFile(dist / wheel).namelist()
    assert {"pseudo3d/py.typed", "pseudo3d/serve/static/index.html"} <= set(inside)
    assert {name.partition("/")[0] for name in inside} == {"pseudo3d", "pseudo3d-99.1.2.dist-info"}
    told = json.loads((dist / bom).read_text())
    assert told["bomFormat"] == "CycloneDX"
    parts = {part["name"]: part for part in told["components"]}
    assert {"torch", "numpy", "av", "lightning"} <= set(parts)
    assert all(part["hashes"][0]["alg"] == "SHA-256" for part in parts.values())
    assert "file:" not in (dist / bom).read_text()
