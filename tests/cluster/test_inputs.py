"""Any list of videos becomes the same rows, in a fixed order, and is told from another list."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pseudo3d.cluster.inputs import TABLE, Listing, read_input, read_part, write_table
from pseudo3d.cluster.place import Place
from pseudo3d.errors import ManifestError


def names(source):
    return [row["name"] for row in read_input(str(source)).rows()]


@pytest.fixture
def tree(tmp_path):
    """Videos, some in a folder, and what is none."""
    for name in ("b.mp4", "a/c.MKV", ".hidden/d.mp4", "e.txt", "a/.f.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    return tmp_path


def test_folders_give_all_videos_and_labels_where_they_are_classes(tree, clips, listed):
    assert names(tree) == [str(tree / "a/c.MKV"), str(tree / "b.mp4")]
    assert names(clips / "v1.mp4") == [str(clips / "v1.mp4")]
    rows = list(read_input(str(listed.parent)).rows())
    assert len(rows) == 24
    assert {row["label"] for row in rows} == {"bright", "dark", "middle"}
    assert {row["group"] for row in rows} == set("abcd")
    for label in ("wave", "push"):
        (tree / "classes" / label).mkdir(parents=True)
        (tree / "classes" / label / "1.mp4").write_bytes(b"1")
    assert [r["label"] for r in read_input(str(tree / "classes")).rows()] == ["push", "wave"]


def test_lists_of_addresses_keep_their_order_and_doubles(tree):
    text = "\ufeffb.mp4\n\n# not this one\ns3://bucket/x.mp4\nb.mp4\n/abs/y.mp4\n"
    (tree / "list.txt").write_text(text, encoding="utf-8")
    wanted = [str(tree / "b.mp4"), "s3://bucket/x.mp4", str(tree / "b.mp4"), "/abs/y.mp4"]
    assert names(tree / "list.txt") == wanted
    columns = {"path": ["b.mp4", "gs://b/z.mp4"], "label": ["u", None], "start": [0.5, None]}
    pq.write_table(pa.table(columns), tree / "list.parquet")
    rows = list(read_input(str(tree / "list.parquet")).rows())
    assert rows == [
        {"name": str(tree / "b.mp4"), "label": "u", "start": 0.5},
        {"name": "gs://b/z.mp4", "label": None, "start": None},
    ]


def test_lists_may_be_remote():
    store = Place("memory://lists")
    for name in ("l.txt", "v/1.mp4", "v/2.mp4"):
        store.write(name, b"x.mp4\nhttps://host/y.mp4\n")
    assert names("memory://lists/l.txt") == ["memory://lists/x.mp4", "https://host/y.mp4"]
    assert names("memory://lists/v") == ["memory://lists/v/1.mp4", "memory://lists/v/2.mp4"]
    assert names("memory://lists/v/1.mp4") == ["memory://lists/v/1.mp4"]
    store.remove("")


def test_a_list_is_told_from_another_one():
    def of(*rows):
        return Listing("x", len(rows), lambda: iter(rows)).digest()

    first = of({"name": "a"}, {"name": "b"})
    assert first == of({"name": "a", "label": None}, {"name": "b"})
    others = [
        of({"name": "b"}, {"name": "a"}),
        of({"name": "a"}),
        of({"name": "a", "label": "l"}, {"name": "b"}),
        of({"name": "a", "start": 1.0}, {"name": "b"}),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.txt", None, "does not exist"),
        ("empty.txt", b"\n# nothing\n", "lists no videos"),
        ("wrong.txt", b"\xff\xfe\x00a", "no text in UTF-8"),
        ("wrong.parquet", b"PAR1 not", "no Parquet table"),
    ],
)
def test_lists_that_are_none_are_refused_in_words(tmp_path, name, content, told):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ManifestError, match=told):
        read_input(str(tmp_path / name)).digest()


def test_tables_without_addresses_are_refused(tmp_path):
    for table, told in (
        ({"video": ["a"]}, "wanted path"),
        ({"path": [""]}, "wanted an address"),
        ({"path": ["a"], "start": ["soon"]}, "wanted seconds"),
    ):
        pq.write_table(pa.table(table), tmp_path / "t.parquet")
        with pytest.raises(ManifestError, match=told):
            read_input(str(tmp_path / "t.parquet")).digest()


def test_a_worker_reads_its_part_of_the_table_alone(tmp_path):
    listing = Listing("x", 7, lambda: ({"name": f"v{i}", "start": i / 2} for i in range(7)))
    place = Place(tmp_path)
    write_table(listing, 3, place)
    assert pq.ParquetFile(tmp_path / TABLE).num_row_groups == 3
    assert [row["row"] for row in read_part(place, 1)] == [3, 4, 5]
    (last,) = read_part(place, 2)
    assert (last["name"], last["start"], last["shard"]) == ("v6", 3.0, None)
