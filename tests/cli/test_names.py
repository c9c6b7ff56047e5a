"""Files of several inputs never have one name, and are called as a person would call them."""

import re
from pathlib import Path

import pytest
import typer
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pseudo3d.cli import main
from pseudo3d.cli.names import check_suffix, refuse_over, unique_names
from pseudo3d.errors import Pseudo3dError


def named(*paths):
    return unique_names([Path(path) for path in paths])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (("p0/ct.nii.gz", "p1/ct.nii.gz"), ["p0_ct", "p1_ct"]),
        (("day1/cam.mp4", "day2/cam.mp4", "door.mp4"), ["day1_cam", "day2_cam", "door"]),
        (("s/p0/t/ct.nii", "s/p1/t/ct.nii"), ["p0_t_ct", "p1_t_ct"]),
        (("ct.nii", "p0/ct.nii"), ["ct", "p0_ct"]),
        (("d/p0_ct.nii", "d/p0/ct.nii", "p1/ct.nii"), ["p0_ct", "d_p0_ct", "p1_ct"]),
        (("a.nii", "a.nii.gz", "a_2.nii"), ["a", "a_3", "a_2"]),
        (("x/a.mp4", "x/a.avi", "y/a.mp4"), ["x_a", "x_a_2", "y_a"]),
        (("a.mp4", "a.mp4"), ["a", "a_2"]),
        (("A.mp4", "a.mp4"), ["A", "a_2"]),
        (("x/a.mp4", "../x/a.mp4", "/x/a.mp4"), ["a", "a_2", "a_3"]),
        (("p/1.2.840.113", "p/1.2.840.114"), ["1.2.840.113", "1.2.840.114"]),  # folders of DICOM
        (("/", "cam 12:30.mp4"), ["input", "cam 12_30"]),
        ((), []),
    ],
)
def test_the_stem_is_enough_where_it_is_alone_else_folders_tell_apart(paths, names):
    assert named(*paths) == names


PART = st.text("aAbé_. :/\\\x00\udc80", min_size=1, max_size=3) | st.sampled_from(["..", "x" * 250])
PATHS = st.lists(
    st.builds(
        lambda folders, name, suffix: Path(*folders, name + suffix),
        st.lists(PART, max_size=3),
        PART,
        st.sampled_from(["", ".mp4", ".nii", ".nii.gz", ".MP4", "_2.mp4"]),
    ),
    max_size=8,
)


@settings(deadline=None, max_examples=300)
@given(paths=PATHS)
@example(paths=[Path("a/b_c.mp4"), Path("a_b/c.mp4"), Path("x/b_c.mp4"), Path("x/c.mp4")])
def test_no_two_names_are_equal_and_all_are_safe(paths):
    names = unique_names(paths)
    assert len(names) == len(paths)
    assert len({name.casefold() for name in names}) == len(paths)
    for name in names:
        assert name
        assert name == name.strip(" .")
        assert not re.search(r'[\x00-\x1f<>:"/\\|?*]', name)
        assert len(name.encode()) < 200


@settings(deadline=None)
@given(stems=st.lists(st.text("abc_12", min_size=1, max_size=4), unique=True, max_size=6))
def test_a_stem_that_is_alone_is_kept_whatever_the_others_are_called(stems):
    twins = [Path("p/twin.mp4"), Path("q/twin.mp4"), Path("q/twin.avi")]
    paths = [Path(f"{stem}.mp4") for stem in stems]
    assert unique_names([*paths, *twins])[: len(paths)] == stems


def test_nothing_is_written_over_an_input(tmp_path):
    (tmp_path / "a.mp4").touch()
    refuse_over(tmp_path / "b.mp4", [tmp_path / "a.mp4"])
    with pytest.raises(Pseudo3dError, match="would be written over"):
        refuse_over(tmp_path / "." / "a.mp4", [tmp_path / "gone.mp4", tmp_path / "a.mp4"])


@pytest.mark.parametrize("name", ["film.mp4", "weights.safetensors", "list", "a.csv.gz"])
def test_a_table_is_not_written_over_what_is_no_table(name):
    check_suffix("--csv", None, ".csv")
    check_suffix("--csv", Path("A.CSV"), ".csv")
    with pytest.raises(typer.BadParameter, match=r"wanted a file called \*\.csv$"):
        check_suffix("--csv", Path(name), ".csv")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "w.safetensors", "a.mp4", "--csv", "a.mp4"),
        ("predict", "w.safetensors", "a.mp4", "--timeline", "w.safetensors"),
        ("predict", "w.safetensors", "a.mp4", "--annotate", "list.csv"),
        ("timecheck", "w.safetensors", "list.csv", "--out", "list.csv"),
        ("train", ".", "--out", "."),
    ],
)
def test_results_keep_off_what_is_there(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "w.safetensors", "list.csv"):
        (tmp_path / name).write_bytes(b"mine")
    done = CliRunner().invoke(main.app, words)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == dict.fromkeys(
        ("a.mp4", "w.safetensors", "list.csv"), b"mine"
    )
