"""Lists of scans: by content, in every layout, and what is wrong with them."""

from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest

from pseudo3d.data.parting import units
from pseudo3d.data.scans.folders import read_folder
from pseudo3d.data.scans.manifest import holds_scans, read_scans, write_scans
from pseudo3d.data.scans.names import is_scan, stem
from pseudo3d.data.scans.stacks import read_stack
from pseudo3d.errors import ManifestError


def stack(path, train=6, test=4, **more):
    rng = np.random.default_rng(0)
    arrays = {
        "train_images": rng.integers(0, 255, (train, 3, 4, 5), dtype=np.uint8),
        "train_labels": np.arange(train, dtype=np.uint8)[:, None] % 2,
        "test_images": rng.integers(0, 255, (test, 3, 4, 5), dtype=np.uint8),
        "test_labels": np.arange(test, dtype=np.uint8)[:, None] % 2,
    }
    np.savez(path, **{**arrays, **more})
    return path


def listed(folder, header, *rows):
    for name in ("a", "b", "c"):
        np.save(folder / f"{name}.npy", np.zeros((2, 2, 2), np.float32))
    (folder / "manifest.csv").write_text("\n".join([header, *rows]) + "\n")
    return folder / "manifest.csv"


def test_a_medmnist_stack_is_a_classification_with_its_official_splits(tmp_path):
    found = read_scans(stack(tmp_path / "x.npz"))
    assert (found.task, found.classes, found.splits) == ("classify", ("0", "1"), ("test", "train"))
    assert [item.index for item in found.split("test").items] == [0, 1, 2, 3]
    assert found.split("train").labels == [0, 1, 0, 1, 0, 1]


def test_ten_classes_by_number_stay_in_the_order_of_numbers(tmp_path):
    images = np.zeros((11, 2, 2, 2), np.int32)
    np.savez(tmp_path / "m.npz", X_train=images, y_train=np.arange(11))
    assert read_scans(tmp_path / "m.npz").classes == tuple(map(str, range(11)))


def test_real_valued_labels_are_numbers_to_learn(tmp_path):
    path = stack(tmp_path / "x.npz", train_labels=np.linspace(0, 1, 6), test_labels=np.ones(4))
    found = read_scans(path)
    assert found.task == "regress"
    assert found.split("train").values == pytest.approx(np.linspace(0, 1, 6).tolist())


def test_volumes_without_a_label_each_are_refused(tmp_path):
    with pytest.raises(ManifestError, match="train_images holds 6 volumes for 5 labels"):
        read_scans(stack(tmp_path / "x.npz", train_labels=np.zeros(5)))


def test_colors_last_come_as_channels(tmp_path):
    np.savez(tmp_path / "x.npz", train_images=np.zeros((2, 4, 5, 6, 3), np.uint8))
    assert read_stack(tmp_path / "x.npz", "train_images").shape == (2, 3, 4, 5, 6)


@pytest.mark.parametrize(
    ("header", "rows", "task"),
    [
        ("path,label", ("a.npy,ill", "b.npy,well"), "classify"),
        ("path,value", ("a.npy,1.5", "b.npy,-2"), "regress"),
    ],
)
def test_the_columns_decide_the_task(tmp_path, header, rows, task):
    assert read_scans(listed(tmp_path, header, *rows)).task == task


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("path,label", ("a.npy,x", "b.npy,"), "1 for classify"),
        ("path,value", ("a.npy,much",), "value is 'much'"),
        ("path,value", ("a.npy,nan",), "finite"),
        ("path,label", ("a.npy,x", "gone.npy,y"), "1 of 2 files are missing: .*gone.npy"),
        ("path,label", ("a.npy,x", "a.npy,y"), "listed twice"),
        ("path,label,group,split", ("a.npy,x,p,train", "b.npy,y,p,test"), "both sides"),
        ("path,label,split", ("a.npy,x,trian", "b.npy,y,test"), "Did you mean train"),
        ("path,label", ("a.npy,x", "b.npy,x"), "one class, 'x'"),
        ("path,other", ("a.npy,x",), "wanted path and one of label, mask, value"),
        ("path,label", (",x",), "empty path"),
        ("path,value", ("a.npy,1.5", "b.npy,2,5"), "row 3: 3 cells under 2 columns"),
        ("path,label,group", ("a.npy,x,p", "b.npy,y"), "row 3: 2 cells under 3 columns"),
        ("path,label,index", ("a.npy,x,one", "b.npy,y,"), "index is 'one'"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, header, rows, said):
    with pytest.raises(ManifestError, match=said):
        read_scans(listed(tmp_path, header, *rows))


def test_a_patient_is_never_on_both_sides(tmp_path):
    rows = [f"{name}.npy,{label},{group}" for name, label, group in zip("abc", "xyx", "ppq")]  # noqa: B905
    rest, held = read_scans(listed(tmp_path, "path,label,group", *rows)).split_by_group(0.3, 0)
    assert not {i.group for i in rest.items} & {i.group for i in held.items}


def test_labels_of_a_trained_network_are_checked(tmp_path):
    path = listed(tmp_path, "path,label", "a.npy,ill", "b.npy,wel")
    with pytest.raises(ManifestError, match="Did you mean well"):
        read_scans(path, ("ill", "well"))


def test_a_list_is_written_and_read_back(tmp_path):
    first = read_scans(stack(tmp_path / "x.npz"))
    write_scans(first.items, tmp_path / "again.csv")
    again = read_scans(tmp_path / "again.csv")
    assert again.items == tuple(first.items)


def test_class_folders_with_splits_above(tmp_path):
    for split in ("train", "test"):
        for label in ("ill", "well"):
            folder = tmp_path / split / label
            folder.mkdir(parents=True)
            np.save(folder / f"{split}{label}.npy", np.zeros((2, 2, 2)))
    found = read_scans(tmp_path)
    assert found.classes == ("ill", "well")
    assert found.splits == ("test", "train")


def test_images_and_labels_beside_each_other_are_masks(shared_data):
    pytest.importorskip("nibabel", reason="reading NIfTI needs the extra `scans`")
    found = read_scans(shared_data / "volumes" / "hippocampus")
    assert (found.task, len(found.items)) == ("segment", 260)
    assert found.classes == ("background", "1", "2")
    assert all(stem(i.path) == stem(i.mask) for i in found.items if i.mask is not None)


@pytest.mark.parametrize(
    ("name", "scans"), [("m.csv", True), ("v.csv", False), ("x.npz", True), ("no.csv", False)]
)
def test_lists_of_scans_are_told_from_lists_of_videos(tmp_path, name, scans):
    stack(tmp_path / "x.npz")
    (tmp_path / "m.csv").write_text("path,label\nscan.nii.gz,a\n")
    (tmp_path / "v.csv").write_text("path,label\nfilm.mp4,a\n")
    (tmp_path / "film.mp4").write_bytes(b"x" * 200)
    assert holds_scans(tmp_path / name) is scans


def test_a_dicom_file_is_known_by_its_mark_and_not_by_its_name(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM" + bytes(20))
    assert is_scan(tmp_path / "IM0001")
    assert is_scan(tmp_path)
    assert not is_scan(Path(__file__))


def test_names_lose_their_whole_suffix():
    assert stem(Path("a/b_0000.nii.gz")) == "b"


def test_empty_masks_are_no_list_to_learn_from_but_one_to_score(tmp_path):
    listed(tmp_path, "path,mask", "a.npy,c.npy", "b.npy,c.npy")
    with pytest.raises(ManifestError, match="background only"):
        read_scans(tmp_path)
    found = read_scans(tmp_path, ("background", "lesion"))
    assert (found.task, found.classes) == ("segment", ("background", "lesion"))


def test_one_class_of_a_networks_two_can_be_listed(tmp_path):
    path = listed(tmp_path, "path,label", "a.npy,ill", "b.npy,ill")
    assert read_scans(path, ("ill", "well")).labels == [0, 0]


def test_a_volume_of_a_four_dimensional_file_is_called_by_its_number(tmp_path):
    path = listed(tmp_path, "path,label,index", "a.npy,x,0", "a.npy,y,1")
    assert [i.name for i in read_scans(path).items] == [
        f"{tmp_path / 'a.npy'}[{n}]" for n in (0, 1)
    ]


def test_volumes_of_one_file_stay_together_and_those_of_a_named_stack_do_not(tmp_path):
    rows = [f"a.npy,{i},{'xy'[i % 2]}" for i in range(4)]
    rows += [f"b.npy,{i},{'xy'[i % 2]}" for i in range(4)]
    found = read_scans(listed(tmp_path, "path,index,label", *rows))
    for seed in range(4):
        rest, held = found.split_by_group(0.3, seed)
        assert {item.path for item in rest.items}.isdisjoint(item.path for item in held.items)
    torn = listed(tmp_path, "path,index,label,split", "a.npy,0,x,train", "a.npy,1,y,test")
    with pytest.raises(ManifestError, match=r"a\.npy; give each group to one split \(volumes of"):
        read_scans(torn)
    said = listed(tmp_path, "path,index,label,split,group", "a.npy,0,x,train,p", "a.npy,1,y,test,q")
    assert read_scans(said).splits == ("test", "train")  # two patients, by their groups
    items = [replace(item, group=None) for item in read_scans(stack(tmp_path / "x.npz")).items]
    assert len(set(units(items))) == 10


def test_labels_and_groups_are_the_same_however_accents_are_written(tmp_path):
    one, two = (normalize(form, "Läsion") for form in ("NFC", "NFD"))
    rows = f"a.npy,{one},{one},train", f"b.npy,{two},{two},", "c.npy,x,p,"
    found = read_scans(listed(tmp_path, "path,label,group,split", *rows))
    assert found.classes == (one, "x")
    assert found.groups == (one, "p")
    assert len(found.hold_out([two])[1].items) == 2
    again = read_scans(tmp_path, classes=(two, "x"))  # of a network that learned the other form
    assert again.labels == [0, 0, 1]


def test_folders_and_masks_are_the_same_however_accents_are_written(tmp_path):
    one, two = (normalize(form, "Läsion") for form in ("NFC", "NFD"))
    for place in (f"a/train/{one}", f"a/test/{two}", "a/train/x", "b/images", "b/labels"):
        (tmp_path / place).mkdir(parents=True)
    volume = np.ones((2, 2, 2), np.uint8)
    for file in (f"a/train/{one}/1", f"a/test/{two}/{two}", "a/train/x/3"):
        np.save(tmp_path / f"{file}.npy", volume)
    found = read_scans(tmp_path / "a")
    assert found.classes == (one, "x")
    assert found.split("test").items[0].path.name == f"{two}.npy"  # paths stay as they are
    np.save(tmp_path / f"b/images/{one}.npy", volume)
    np.save(tmp_path / f"b/labels/{two}.npy", volume)
    (item,) = read_folder(tmp_path / "b")[0]
    assert item.group == one
