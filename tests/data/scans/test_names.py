"""What is a scan among the entries of folders, as people's folders are; what is not is named."""

import logging

import numpy as np
import pytest

from data.scans.dicoms import image, save, series
from pseudo3d.cli.scans.among import scans_among, unlabeled_or_listed
from pseudo3d.data.scans.manifest import holds_scans, read_scans
from pseudo3d.data.scans.names import files_below, holds_dicom, is_scan
from pseudo3d.data.scans.read import read_scan
from pseudo3d.errors import ManifestError


def patient(folder, layout):
    """One series, in the ways that folders of patients look."""
    if layout == "beside":
        series(folder)
        (folder / "!README.txt").write_text("hello")
        (folder / "CONTENT.XML").write_text("<x/>")
    elif layout == "nested":
        series(folder / "study" / "series")
        (folder / "viewer.exe").write_bytes(bytes(500))
    elif layout == "old":  # neither preamble nor mark
        folder.mkdir(parents=True)
        for number in range(6):
            data = image(number)
            del data.file_meta
            data.save_as(folder / f"{number}", implicit_vr=True, little_endian=True)
    else:
        series(folder)
    return folder


@pytest.mark.parametrize("layout", ["plain", "beside", "nested", "old"])
def test_a_folder_of_a_patient_is_a_scan_whatever_lies_beside_the_images(tmp_path, layout):
    home = patient(tmp_path / "p1", layout)
    assert is_scan(home)
    assert read_scan(home).size == (6, 6, 5)
    (found,) = scans_among([home])
    assert read_scan(found).size == (6, 6, 5)
    assert scans_among([tmp_path]) == [home]


def test_no_patient_of_a_class_leaves_the_training_set_silently(tmp_path, caplog):
    for label, layouts in (("ill", ("plain", "beside", "nested")), ("well", ("old", "plain"))):
        for number, layout in enumerate(layouts):
            patient(tmp_path / label / f"p{number}", layout)
    (tmp_path / "ill" / "list.txt").write_text("three patients")
    (tmp_path / "well" / "empty").mkdir()
    with caplog.at_level(logging.WARNING):
        found = read_scans(tmp_path)
    assert [item.label for item in found.items] == ["ill"] * 3 + ["well"] * 2
    assert found.skipped == (tmp_path / "ill/list.txt", tmp_path / "well/empty")
    assert "2 entries are no scans with a target: ill/list.txt, well/empty" in caplog.text


def test_scans_without_a_mask_and_masks_without_a_scan_are_named(tmp_path, caplog):
    for folder, names in (("images", "ab"), ("labels", "bc")):
        (tmp_path / folder).mkdir()
        for name in names:
            np.save(tmp_path / folder / f"{name}.npy", np.ones((2, 2, 2), np.uint8))
    with caplog.at_level(logging.WARNING):
        found = read_scans(tmp_path)
    assert [item.path.name for item in found.items] == ["b.npy"]
    assert [p.name for p in found.skipped] == ["a.npy", "c.npy"]
    assert "images/a.npy, labels/c.npy" in caplog.text


def test_classes_beside_splits_are_refused(tmp_path):
    for name in ("train/ill", "train/well", "ill"):
        (tmp_path / name).mkdir(parents=True)
        np.save(tmp_path / name / "a.npy", np.ones((2, 2, 2)))
    with pytest.raises(ManifestError, match="train, a split, and beside it ill with 1 scans"):
        read_scans(tmp_path)
    (tmp_path / "ill" / "a.npy").unlink()
    found = read_scans(tmp_path)
    assert found.classes == ("ill", "well")
    assert found.skipped == (tmp_path / "ill",)


def test_a_folder_that_directly_holds_dicom_is_one_scan(tmp_path, capsys):
    home = patient(tmp_path, "beside")
    series(home / "second", uid="1.2.3.9")
    assert holds_dicom(home)
    assert scans_among([home]) == [home]
    assert not capsys.readouterr().err


def test_what_a_command_leaves_out_of_a_folder_is_told(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((2, 2, 2)))
    (tmp_path / "notes.txt").write_text("x")
    assert scans_among([tmp_path]) == [tmp_path / "a.npy"]
    assert "1 entries are no scans and left out: notes.txt" in capsys.readouterr().err
    (tmp_path / "a.npy").unlink()
    assert scans_among([tmp_path]) == []  # it may be a folder of videos
    assert not capsys.readouterr().err


def test_folders_of_classes_keep_their_labels(tmp_path):
    for label in ("ill", "well"):
        patient(tmp_path / label / "p", "nested")
    found = unlabeled_or_listed(tmp_path, "all", None)
    assert found is not None
    assert found.classes == ("ill", "well")
    alone = unlabeled_or_listed(patient(tmp_path / "new" / "p", "plain").parent, "all", None)
    assert alone is not None
    assert [item.label for item in alone.items] == [""]


def test_the_look_into_a_folder_is_bounded(tmp_path):
    save(tmp_path / "z", [image(0)])
    (tmp_path / "a").mkdir()
    for number in range(9):
        (tmp_path / "a" / f"{number}.txt").write_text("x")
    assert len(list(files_below(tmp_path, 4, 100))) == 5  # every folder gets its share
    assert len(list(files_below(tmp_path, 4, 3))) == 3
    (tmp_path / "a" / ".hidden").write_text("x")
    assert all(p.name != ".hidden" for p in files_below(tmp_path, 100, 100))


def test_a_set_is_one_of_scans_though_many_notes_come_first(tmp_path):
    (tmp_path / "about").mkdir()
    for number in range(60):
        (tmp_path / "about" / f"{number}.txt").write_text("x")
    series(tmp_path / "ill" / "p")
    assert holds_scans(tmp_path)
