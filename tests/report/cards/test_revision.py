"""The revision is that of the checkout, or what the version says."""

import subprocess

import pytest

from pseudo3d.report.cards import revision as module
from pseudo3d.report.cards.revision import code_line, package_revision, revision


def git(folder, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
    line = ["git", "-C", str(folder), *who, *words]
    return subprocess.run(line, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    folder = tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    git(tmp_path, "init", "-q", "mine")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_a_folder_of_a_repository_gives_its_commit_and_whether_files_differ(checkout):
    commit = git(checkout, "rev-parse", "HEAD")
    whole = {"repository": "mine", "commit": commit, "changed": False}
    (checkout / "new.txt").write_text("results may lie about")
    assert revision(checkout / "sub") == whole
    (checkout / "a.txt").write_text("b")
    assert revision(checkout) == {**whole, "changed": True}


def test_without_a_repository_a_commit_or_git_there_is_no_revision(tmp_path, monkeypatch):
    assert revision(tmp_path) is None
    git(tmp_path, "init", "-q", "empty")
    assert revision(tmp_path / "empty") is None
    monkeypatch.setenv("PATH", "")
    assert revision(tmp_path) is None


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("0.2.0", "pseudo3d 0.2.0"),
        ("0.2.1.dev4+g1a2b3c4d5.d20261121", "pseudo3d 0.2.1.dev4, revision 1a2b3c4d5"),
        ("0.2.1.dev4+g1a2b3c4d5", "pseudo3d 0.2.1.dev4, revision 1a2b3c4d5"),
    ],
)
def test_an_installed_package_says_its_revision_by_its_version(version, told, monkeypatch):
    monkeypatch.setattr(module, "package_version", lambda: version)
    monkeypatch.setattr(module, "_git", lambda *words: None)
    assert code_line() == told


def test_a_repository_around_an_installed_package_is_not_its_own(checkout, monkeypatch):
    home = checkout / "env" / "pseudo3d"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("")
    monkeypatch.setattr(module.pseudo3d, "__file__", str(home / "__init__.py"))
    monkeypatch.setattr(module, "package_version", lambda: "0.2.0")
    assert package_revision() is None
    git(checkout, "add", ".")
    git(checkout, "commit", "-qm", "package")
    assert package_revision()["commit"] == git(checkout, "rev-parse", "HEAD")
