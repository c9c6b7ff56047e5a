"""A list of labeled videos reads back as written, and a wrong one is named with its row."""

from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudo3d.data.manifest import Item, Manifest, read_manifest, write_manifest
from pseudo3d.errors import ManifestError

letters = st.characters(codec="utf-8", exclude_categories=["C", "Z"])
words = st.text(letters, min_size=1, max_size=8).map(lambda word: normalize("NFC", word))
seconds = st.floats(0, 1e6, allow_nan=False)


@pytest.fixture
def folder(tmp_path):
    """Empty files a.mp4 to h.mp4."""
    for letter in "abcdefgh":
        (tmp_path / f"{letter}.mp4").touch()
    return tmp_path


def table(folder, text, name="list.csv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@settings(max_examples=50, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_a_written_manifest_reads_back_the_same(folder, data):
    items = []
    for i, letter in enumerate("abcd"):
        start = data.draw(st.none() | seconds)
        items.append(
            Item(
                path=folder / f"{letter}.mp4",
                label=data.draw(words) + str(i),
                group=data.draw(st.none() | words.map(lambda w, i=i: w + str(i))),
                split=data.draw(st.none() | words),
                start=start,
                end=data.draw(st.none() | seconds.map(lambda s, b=start or 0: b + 1 + s)),
            )
        )
    manifest = Manifest(tuple(items), tuple(sorted({i.label for i in items})))
    write_manifest(manifest, folder / "out.csv")
    assert read_manifest(folder / "out.csv") == manifest
    assert str(folder) not in (folder / "out.csv").read_text(encoding="utf-8")


def test_mark_line_ends_blank_lines_spaces_and_more_columns_do_not_matter(folder):
    text = "\ufeffPath, label ,fps,group\r\n\r\na.mp4,run,25,\r\n b.mp4 , walk ,,p1\r\n,,,\r\n"
    manifest = read_manifest(table(folder, text))
    assert manifest.items == (
        Item(path=folder / "a.mp4", label="run"),
        Item(path=folder / "b.mp4", label="walk", group="p1"),
    )
    assert manifest.classes == ("run", "walk")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "lists no videos"),
        ("", "lacks the columns path and label"),
        ("file,label\na.mp4,x\n", "header is 'file,label'"),
        ("path,label\na.mp4,x\nb.mp4,x\n", "one class, 'x'"),
        ("path,label\nz.mp4,x\nb.mp4,y\n", r"1 of 2 files are missing: .*z\.mp4"),
        ("path,label\na.mp4,x\nb.mp4,y\na.mp4,x\n", r"1 videos are listed twice .*a\.mp4"),
        ("path,label\na.mp4,x\nb.mp4,y\n./a.mp4,y\n", "listed twice"),
        ("path,label,start\na.mp4,x,soon\n", "row 2: start is 'soon'"),
        ("path,label,end\na.mp4,x,-1\n", "row 2: end is '-1'"),
        ("path,label,end\na.mp4,x,inf\n", "row 2: end is 'inf'"),
        ("path,label,start,end\na.mp4,x,2,2\n", r"row 2: end 2\.0 s is not after start 2\.0"),
        ("path,label\na.mp4,x\nb,c.mp4,y\n", "row 3: 3 cells under 2 columns"),
        ("path,label,Label\na.mp4,x,y\n", "the column 'label' twice"),
        ("path,label\na.mp4,\n", "row 2: empty label"),
        (
            "path,label,group,split\na.mp4,x,p1,train\nb.mp4,y,p1,test\nc.mp4,y,p2,test\n",
            r"1 groups are on both sides of a split: p1 \(test, train\)",
        ),
        (
            "path,label,split,start\na.mp4,x,train,0\na.mp4,y,test,1\n",
            r"on both sides of a split: .*a\.mp4",
        ),
        (b"path,label\na.mp4,\xff\n", "no CSV in UTF-8"),
    ],
)
def test_a_wrong_table_is_named_with_its_row_and_value(folder, text, message):
    with pytest.raises(ManifestError, match=message) as caught:
        read_manifest(table(folder, text))
    assert "list.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_many_missing_files_are_counted_and_five_are_named(folder):
    rows = "".join(f"lost{i}.mp4,{i % 2}\n" for i in range(9))
    with pytest.raises(ManifestError, match="9 of 9 files are missing") as caught:
        read_manifest(table(folder, "path,label\n" + rows))
    assert "lost4.mp4, ..." in str(caught.value)
    assert "lost5.mp4" not in str(caught.value)


def test_spans_of_one_file_are_no_duplicates(folder):
    text = "path,label,start,end\na.mp4,x,0,1\na.mp4,y,1,2\n"
    assert [i.start for i in read_manifest(table(folder, text)).items] == [0, 1]


def test_given_classes_keep_their_order_and_refuse_others(folder):
    path = table(folder, "path,label\na.mp4,y\nb.mp4,y\n")
    manifest = read_manifest(path, classes=["z", "y"])
    assert manifest.classes == ("z", "y")
    assert manifest.labels == [1, 1]
    with pytest.raises(ManifestError, match="unknown class: 'y'"):
        read_manifest(path, classes=["z", "w"])


def test_a_folder_per_class_is_read_with_its_splits(tmp_path):
    for name in ["train/run/a.mp4", "train/walk/deep/b.AVI", "valid/run/c.mov", "train/run/no.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "train/run/.hidden.mp4").touch()
    manifest = read_manifest(tmp_path)
    found = [(i.path.name, i.label, i.split) for i in manifest.items]
    expected = [("a.mp4", "run", "train"), ("b.AVI", "walk", "train"), ("c.mov", "run", "val")]
    assert found == expected
    assert [p.name for p in manifest.skipped] == ["no.txt"]
    classes = read_manifest(tmp_path / "train")
    assert [(i.label, i.split) for i in classes.items] == [("run", None), ("walk", None)]
    table(tmp_path, "path,label\ntrain/run/a.mp4,p\nvalid/run/c.mov,q\n", "manifest.csv")
    assert read_manifest(tmp_path).classes == ("p", "q")


def test_folders_beside_those_of_the_splits_are_no_classes(tmp_path):
    for name in [
        "training/run/a.mp4",
        "testing/walk/b.mp4",
        "notes/a.json",
        "c.mp4",
        "training/d.mp4",
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    assert [(i.label, i.split) for i in manifest.items] == [("walk", "test"), ("run", "train")]
    assert sorted(p.name for p in manifest.skipped) == ["a.json", "c.mp4", "d.mp4"]
    (tmp_path / "notes/e.mp4").touch()
    with pytest.raises(ManifestError, match=r"testing, a split, and beside it notes with 1 videos"):
        read_manifest(tmp_path)


def test_videos_outside_of_the_classes_are_told(tmp_path):
    for name in ["run/a.mp4", "walk/b.mp4", "c.mp4"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert read_manifest(tmp_path).skipped == (tmp_path / "c.mp4",)


def test_spans_without_a_group_join_their_file_to_the_groups_of_its_other_spans(folder):
    rows = "path,label,group,split,start,end\na.mp4,x,g,train,0,1\na.mp4,y,,test,1,2\n"
    with pytest.raises(ManifestError, match="1 groups are on both sides of a split: g"):
        read_manifest(table(folder, rows + "b.mp4,y,g,train,,\n"))
    items = [Item(path=Path(f"{i}.mp4"), label="a", group=f"g{i}", end=1.0) for i in range(6)]
    items += [replace(item, label="b", group=None, start=1.0, end=2.0) for item in items]
    items += [Item(path=Path("other.mp4"), label="b", group="g0")]
    for seed in range(5):
        rest, held = Manifest(tuple(items), ("a", "b")).split_by_group(0.5, seed)
        assert not {i.path for i in rest.items} & {i.path for i in held.items}
        assert not set(rest.groups) & set(held.groups)


def test_an_absent_or_empty_folder_is_named(tmp_path):
    with pytest.raises(ManifestError, match="does not exist"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(ManifestError, match="lists no videos"):
        read_manifest(tmp_path)


def people(count=8, per=6, classes=3):
    return Manifest(
        tuple(
            Item(path=Path(f"{g}_{i}.mp4"), label=str(i % classes), group=f"p{g}")
            for g in range(count)
            for i in range(per)
        ),
        tuple(map(str, range(classes))),
    )


def test_a_split_keeps_the_classes_and_names_the_known_ones():
    items = (
        Item(path=Path("a"), label="x", split="train"),
        Item(path=Path("b"), label="y", split="test"),
    )
    manifest = Manifest(items, ("x", "y"))
    test = manifest.split("test")
    assert (test.items, test.classes, test.labels) == (items[1:], ("x", "y"), [1])
    with pytest.raises(ManifestError, match=r"unknown split: 'tset'\. Did you mean test"):
        manifest.split("tset")
    with pytest.raises(ManifestError, match="the data name none"):
        people().split("train")


def test_each_group_is_left_out_once():
    manifest = people()
    folds = list(manifest.leave_one_group_out())
    assert [group for group, _, _ in folds] == list(manifest.groups)
    for group, train, test in folds:
        assert test.groups == (group,)
        assert group not in train.groups
        assert len(train.items) + len(test.items) == len(manifest.items)
    with pytest.raises(ManifestError, match="leave one group out"):
        next(people(1).leave_one_group_out())


def test_an_unknown_or_every_group_cannot_be_held_out():
    with pytest.raises(ManifestError, match="unknown group: 'p9'"):
        people().hold_out(["p9"])
    bare = Manifest(tuple(replace(item, group=None) for item in people().items), people().classes)
    with pytest.raises(ManifestError, match=r"unknown group: 'p0'\. There is none\."):
        bare.hold_out(["p0"])
    with pytest.raises(ManifestError, match="one side is empty"):
        people(2).hold_out(["p0", "p1"])


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=2, max_size=40),
    st.floats(0.05, 0.95),
    st.integers(0, 5),
)
def test_split_by_group_never_cuts_a_group_and_repeats_itself(rows, fraction, seed):
    items = tuple(
        Item(path=Path(f"{i}.mp4"), label=str(c), group=f"p{g}") for i, (g, c) in enumerate(rows)
    )
    manifest = Manifest(items, ("0", "1", "2", "3"))
    if len(manifest.groups) < 2:
        with pytest.raises(ManifestError, match="of one group"):
            manifest.split_by_group(fraction, seed)
        return
    rest, held = manifest.split_by_group(fraction, seed)
    assert rest.items
    assert held.items
    assert not set(rest.groups) & set(held.groups)
    assert sorted(map(str, rest.items + held.items)) == sorted(map(str, items))
    assert manifest.split_by_group(fraction, seed) == (rest, held)


def test_split_by_group_takes_its_share_of_every_class():
    lone = tuple(Item(path=Path(f"{i}.mp4"), label=str(i % 5)) for i in range(100))
    rest, held = Manifest(lone, tuple("01234")).split_by_group(0.2, 3)
    assert [held.labels.count(c) for c in range(5)] == [4] * 5
    assert [rest.labels.count(c) for c in range(5)] == [16] * 5
    others = {people().split_by_group(0.25, seed)[1].groups for seed in range(5)}
    assert len(others) > 1
    assert {len(groups) for groups in others} == {2}


def test_spans_of_a_file_without_a_group_stay_together():
    items = tuple(
        Item(path=Path(f"{i // 4}.mp4"), label=str(i % 2), start=float(i % 4)) for i in range(40)
    )
    rest, held = Manifest(items, ("0", "1")).split_by_group(0.3, 0)
    assert not {i.path for i in rest.items} & {i.path for i in held.items}
    assert len(held.items) == 12


def test_labels_and_groups_are_the_same_however_accents_are_written(tmp_path):
    one, two = (normalize(form, "Bär") for form in ("NFC", "NFD"))
    names = [f"{one}.mp4", f"{two}.mp4", "c.mp4"]
    for folder, name in zip((one, two, "x"), names, strict=True):
        (tmp_path / "tree" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / folder / name).write_bytes(b"")
        (tmp_path / name).write_bytes(b"")
    rows = f"{names[0]},{one},{one}\n{names[1]},{two},{two}\nc.mp4,x,p\n"
    (tmp_path / "list.csv").write_text("path,label,group\n" + rows)
    for found in (read_manifest(tmp_path / "list.csv"), read_manifest(tmp_path / "tree")):
        assert found.classes == (one, "x")
        assert sorted(item.path.name for item in found.items) == sorted(names)  # as they are
    listed = read_manifest(tmp_path / "list.csv", classes=(two, "x"))  # learned in the other form
    assert listed.labels == [0, 0, 1]
    assert listed.groups == (one, "p")
    assert len(listed.hold_out(two)[1].items) == 2


def test_items_without_a_split_beside_others_are_told(tmp_path):
    rows = [
        "path,label,split",
        *(f"{i}.mp4,{'xy'[i % 2]},{'' if i > 1 else 'train'}" for i in range(9)),
    ]
    for i in range(9):
        (tmp_path / f"{i}.mp4").write_bytes(b"")
    (tmp_path / "list.csv").write_text("\n".join(rows) + "\n")
    found = read_manifest(tmp_path / "list.csv")
    told = found.beside_splits("videos")
    assert told.startswith("7 of 9 videos name no split and are left out: ")
    assert "2.mp4" in told
    assert told.endswith(", ...")
    assert found.split("train").beside_splits("videos") == ""
    bare = tuple(replace(item, split=None) for item in found.items)
    assert replace(found, items=bare).beside_splits("videos") == ""  # nothing is left out
