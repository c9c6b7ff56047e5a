"""Lists of what happens when: CSV and ActivityNet's JSON, and the clips they train on."""

import json
from collections import Counter
from io import BytesIO

import av
import pytest
import torch

from pseudo3d.data.annotation_files import read_annotations, read_found, to_activitynet, to_csv
from pseudo3d.data.annotations import Annotations, Mark, MarkedVideo
from pseudo3d.data.manifest import read_manifest, write_manifest
from pseudo3d.data.video import probe
from pseudo3d.data.writer import write_video
from pseudo3d.errors import ManifestError


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Three videos of ten seconds."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "v_b.mp4", "sub/c.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_video(folder / name, torch.zeros(3, 50, 16, 16, dtype=torch.uint8), fps=5)
    return folder


def listed(home, *rows, header="path,label,start,end,group,split"):
    (home / "truth.csv").write_text("\n".join([header, *rows]) + "\n")
    return home


ROWS = (
    "a.mp4,jump,4,6,tom,train",
    "a.mp4,run,1,2,tom,train",
    "v_b.mp4,jump,0,,eva,val",
    "sub/c.mp4,,,,pia,testing",
)


def test_a_csv_is_read_in_order_of_time_with_videos_in_which_nothing_happens(home):
    found = read_annotations(listed(home, *ROWS))
    assert [v.name for v in found.videos] == ["a.mp4", "v_b.mp4", "sub/c.mp4"]
    assert found.videos[0].marks == (Mark(1, 2, "run"), Mark(4, 6, "jump"))
    assert found.videos[1].marks == (Mark(0, pytest.approx(10.0), "jump"),)  # to its end
    assert found.videos[2].marks == ()
    assert found.labels == ("jump", "run")
    assert found.splits == ("test", "train", "val")
    assert [v.name for v in found.split("validation").videos] == ["v_b.mp4"]
    assert found.split("all") is found
    assert found.without(["jump"]).labels == ("run",)
    assert found.missing == {}
    assert found.videos[0].group == "tom"


def activitynet(home, **changes):
    video = {"subset": "training", "duration": 10, "annotations": []}
    video["annotations"] = [{"segment": [4, 6.5], "label": "jump"}]
    database = {"a": {**video, **changes}, "b": {**video, "subset": "validation"}, "gone": video}
    (home / "truth.json").write_text(json.dumps({"version": "1.3", "database": database}))
    return home / "truth.json"


def test_activitynets_json_finds_videos_by_id_and_names_those_that_are_not_there(home):
    found = read_annotations(activitynet(home))
    assert [v.path and v.path.name for v in found.videos] == ["a.mp4", "v_b.mp4", None]
    assert [v.split for v in found.videos] == ["train", "val", "train"]
    assert found.videos[0].marks == (Mark(4, 6.5, "jump"),)
    assert found.missing == {"gone": "not on the disk"}
    elsewhere = read_annotations(activitynet(home), home / "sub")
    assert len(elsewhere.missing) == 3


SEGMENTS = {"a.mp4": [Mark(1.0, 2.5, "jump", 0.75)], "v_b.mp4": []}


def test_what_was_found_reads_back_from_both_forms(home):
    (home / "found.csv").write_text(to_csv(SEGMENTS))
    (home / "found.json").write_text(to_activitynet(SEGMENTS, "test"))
    for name in ("found.csv", "found.json"):
        found = read_found(home / name)
        assert found == {"a.mp4": (Mark(1.0, 2.5, "jump", 0.75),), "v_b.mp4": ()}
    content = json.loads((home / "found.json").read_text())
    assert content["results"]["a.mp4"][0] == {"label": "jump", "score": 0.75, "segment": [1.0, 2.5]}
    assert set(content) == {"version", "results", "external_data"}


def test_found_segments_train_a_network_as_they_are(home):
    text = to_csv({"a.mp4": [Mark(1, 2, "jump", 0.7), Mark(4, 5, "run", 0.6)]})
    (home / "corrected.csv").write_text(text)
    manifest = read_manifest(home / "corrected.csv")
    assert [(i.label, i.start, i.end) for i in manifest.items] == [("jump", 1, 2), ("run", 4, 5)]


def one(home, *marks):
    video = MarkedVideo(name="a", path=home / "a.mp4", marks=marks, split="train", group="tom")
    return Annotations((video,))


def test_spans_become_clips_and_what_lies_between_them_pauses(home):
    marked = one(home, Mark(2, 4, "jump"), Mark(4.1, 6, "run"))
    assert [(i.label, i.start, i.end) for i in marked.manifest().items] == [
        ("jump", 2, 4),
        ("run", 4.1, 6),
    ]
    found = marked.manifest("rest")
    assert found.classes == ("jump", "rest", "run")
    spans = [(i.label, i.start, pytest.approx(i.end)) for i in found.items]
    # ten tenths of a second between jump and run are no clip; the last four seconds are two
    assert spans == [
        ("rest", 0, 2),
        ("jump", 2, 4),
        ("run", 4.1, 6),
        ("rest", 6, 8),
        ("rest", 8, 10),
    ]
    assert {(i.split, i.group) for i in found.items} == {("train", "tom")}


def test_clips_laid_over_a_video_have_the_label_they_are_half_in(home):
    marked = one(home, Mark(4, 6, "jump"))
    found = marked.manifest("rest", seconds=2, hop=0.5)
    labels = {i.start: i.label for i in found.items}
    # from 3 on half of the clip is in the span; at 2.5 and 5.5 a quarter is, which is a pause
    assert labels == {
        0: "rest", 0.5: "rest", 1: "rest", 1.5: "rest", 2: "rest", 2.5: "rest",
        3: "jump", 3.5: "jump", 4: "jump", 4.5: "jump", 5: "jump",
        5.5: "rest", 6: "rest", 6.5: "rest", 7: "rest", 7.5: "rest", 8: "rest",
    }  # fmt: skip
    fine = marked.manifest("rest", seconds=2, hop=0.2)
    assert Counter(i.label for i in fine.items)["jump"] == 11
    between = [i.start for i in fine.items if 2.5 < i.start < 3]
    assert between == []  # neither half full nor nearly empty
    assert {i.label for i in marked.manifest(seconds=2).items} == {"jump"}
    short = one(home, Mark(4, 4.5, "jump")).manifest("rest", seconds=2, hop=0.5)
    assert [i.start for i in short.items if i.label == "jump"] == [2.5, 3, 3.5, 4]


def test_a_clip_of_the_manifest_can_be_written_and_read(home):
    manifest = one(home, Mark(2, 4, "jump")).manifest("rest", seconds=2)
    write_manifest(manifest, home / "clips.csv")
    assert read_manifest(home / "clips.csv").items == manifest.items


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a.mp4,jump,6,4,,"], "row 2: 'jump' from 6 to 4 s; wanted 0 <= start < end"),
        (["a.mp4,jump,-1,4,,"], "wanted 0 <= start"),
        (["a.mp4,jump,one,4,,"], "start is 'one'; wanted a number"),
        ([",jump,1,4,,"], "row 2: empty path"),
        (["a.mp4,jump,1,4,,train", "a.mp4,run,5,6,,val"], "row 3: a.mp4 has split"),
        (["z.mp4,jump,1,4,,"], "1 of 1 videos are missing: z.mp4"),
        (["a.mp4,jump,1,4,tom,train", "v_b.mp4,jump,1,4,tom,val"], "tom .train, val."),
        (["a.mp4,jump,1,4,,", "./a.mp4,jump,1,4,,"], "listed under two names"),
        ([], "lists no videos"),
    ],
)
def test_lists_that_contradict_themselves_are_refused(rows, words, home):
    with pytest.raises(ManifestError, match=words):
        read_annotations(listed(home, *rows))


@pytest.mark.parametrize("row", ["a.mp4,run,0,5,1,5", "a.mp4,run,1"])
def test_rows_with_another_number_of_cells_are_refused(row, home):
    listed(home, "", "", row, header="path,label,start,end")
    with pytest.raises(ManifestError, match=r"row 4: \d cells under 4 columns"):
        read_annotations(home)


def test_a_video_that_does_not_say_how_long_it_is_lasts_as_long_as_its_frames(home):
    live = BytesIO()
    whole = type("Unseekable", (), {"write": live.write})()  # so that no duration is put in
    with av.open(str(home / "a.mp4")) as source, av.open(whole, "w", format="matroska") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    (home / "live.mkv").write_bytes(live.getvalue())
    assert probe(home / "live.mkv").duration == 0
    listed(home, "live.mkv,run,2,", header="path,label,start,end")
    found = read_annotations(home)
    assert found.videos[0].marks == (Mark(2.0, pytest.approx(10.0), "run"),)
    clips = found.manifest("pause", seconds=1.0).items
    assert (clips[0].label, clips[0].end, clips[-1].end) == ("pause", 1.0, 10.0)


def test_lists_of_another_kind_are_refused(home):
    with pytest.raises(ManifestError, match="wanted path,label,start,end"):
        read_annotations(listed(home, header="file,class"))
    with pytest.raises(ManifestError, match=r"absent\.csv does not exist"):
        read_annotations(home / "absent.csv")
    (home / "x.json").write_text("[]")
    with pytest.raises(ManifestError, match="wanted 'database' or 'results'"):
        read_annotations(home / "x.json")
    (home / "x.json").write_text("{")
    with pytest.raises(ManifestError, match="no JSON"):
        read_annotations(home / "x.json")
    (home / "x.csv").write_bytes(b"path,label,start,end\n\xff\xfe")
    with pytest.raises(ManifestError, match="no CSV in UTF-8"):
        read_annotations(home / "x.csv")


@pytest.mark.parametrize(
    "notes", [[{"segment": [1], "label": "x"}], [{"label": "x"}], [3], [{"segment": [1, 2]}]]
)
def test_broken_entries_of_a_json_are_named(notes, home):
    with pytest.raises(ManifestError, match=r"truth\.json, a: "):
        read_annotations(activitynet(home, annotations=notes))


def test_unknown_splits_and_impossible_clips_are_refused(home):
    found = read_annotations(listed(home, *ROWS))
    with pytest.raises(ManifestError, match="Did you mean train"):
        found.split("trian")
    with pytest.raises(ManifestError, match="add a `split` column"):
        Annotations((MarkedVideo(name="a", path=None),)).split("val")
    with pytest.raises(ManifestError, match="pauses cannot be called 'jump'"):
        found.manifest("jump")
    with pytest.raises(ManifestError, match="seconds is 0"):
        found.manifest("rest", seconds=0)
    with pytest.raises(ManifestError, match="without a marked span"):
        one(home).manifest("rest")


def test_without_the_disk_only_spans_with_an_end_are_read(home):
    found = read_annotations(listed(home, "z.mp4,jump,1,4,,"), disk=False)
    assert found.videos[0].path is None
    with pytest.raises(ManifestError, match="end is ''"):
        read_annotations(listed(home, "z.mp4,jump,1,,,"), disk=False)
