"""Lists as they are on disks, the published counts, and what is refused."""

import csv
import json
import random
import shutil

import pytest

from pseudo3d.errors import ManifestError, VideoError
from pseudo3d.protocols import get, names
from pseudo3d.protocols.base import Entry, Listing, Split, admit
from pseudo3d.protocols.frames import frames_video, pictures
from pseudo3d.protocols.hmdb51 import HMDB51
from pseudo3d.protocols.miniature import CLASSES, write_miniature
from pseudo3d.protocols.options import options_of
from pseudo3d.protocols.ucf101 import COUNTS


def ucf_lists(root, short=0):
    """Lists of the official sizes; `short` lines fewer in the first training list."""
    home = root / "ucfTrainTestlist"
    home.mkdir()
    classes = [f"Action{k:03}" for k in range(101)]
    (home / "classInd.txt").write_bytes(
        "".join(f"{k} {c}\r\n" for k, c in enumerate(classes, 1)).encode()
    )
    for split, (train, test) in COUNTS.items():
        lines = [
            f"{classes[i % 101]}/v_{classes[i % 101]}_g{8 + i % 18:02}_c{i}.avi {i % 101 + 1}"
            for i in range(train - (short if split == 1 else 0))
        ]
        (home / f"trainlist0{split}.txt").write_text("\n".join(lines) + "\n")
        lines = [
            f"{classes[i % 101]}/v_{classes[i % 101]}_g{1 + i % 7:02}_c{i}.avi" for i in range(test)
        ]
        (home / f"testlist0{split}.txt").write_bytes(("\r\n".join(lines) + "\r\n\r\n").encode())


def test_the_official_counts_of_ucf101_pass(tmp_path, net):
    ucf_lists(tmp_path)
    listing = get("ucf101").read(tmp_path)
    assert listing.wrong == ()
    assert [(len(s.train), len(s.test)) for s in listing.splits] == list(COUNTS.values())
    assert admit(listing, partial=False) == []
    assert len(listing.missing) == len(listing.entries)
    with pytest.raises(ManifestError, match=r"none of its 3783 test videos .* check --root"):
        get("ucf101", task="end_to_end").run(tmp_path, net("a", "b"))


def test_wrong_counts_are_named_and_refused_unless_partial(tmp_path):
    ucf_lists(tmp_path, short=2)
    listing = get("ucf101").read(tmp_path)
    assert listing.wrong == ("training videos of split 1: 9,535, published 9,537",)
    with pytest.raises(ManifestError, match=r"split 1: 9,535, published 9,537.*--partial"):
        admit(listing, partial=False)
    assert admit(listing, partial=True) == list(listing.wrong)


def test_the_official_counts_of_hmdb51_pass(tmp_path):
    rng = random.Random(0)
    for k in range(51):
        for split in (1, 2, 3):
            marks = ["1"] * 70 + ["2"] * 30 + ["0"] * rng.randrange(40)
            lines = [f"class{k}_#{i};(x)!.avi {mark} " for i, mark in enumerate(marks)]
            (tmp_path / f"class{k}_test_split{split}.txt").write_text("\r\n".join(lines))
    listing = get("hmdb51").read(tmp_path)
    assert listing.wrong == ()
    assert [(len(s.train), len(s.test)) for s in listing.splits] == [(3570, 1530)] * 3
    (tmp_path / "class7_test_split3.txt").unlink()
    with pytest.raises(ManifestError, match=r"1 classes have no list of split 3: class7"):
        get("hmdb51").read(tmp_path)
    assert HMDB51(splits=(1, 2)).read(tmp_path).wrong == ()


def test_the_official_counts_of_activitynet_pass(tmp_path):
    counts = {"training": 10_024, "validation": 4_926, "testing": 5_044}
    database = {
        f"{name}{i}": {"subset": name, "annotations": [{"segment": [0, 1], "label": f"l{i % 200}"}]}
        for name, count in counts.items()
        for i in range(count)
    }
    path = tmp_path / "activity_net.v1-3.min.json"
    path.write_text(json.dumps({"version": "1.3", "database": database}))
    listing = get("activitynet").read(tmp_path)
    assert listing.wrong == ()
    assert (len(listing.classes), len(listing.splits[0].test)) == (200, 4_926)
    del database["testing0"]
    path.write_text(json.dumps({"database": database}))
    assert get("activitynet").read(tmp_path).wrong == ("testing videos: 5,043, published 5,044",)
    path.write_text("[]")
    with pytest.raises(ManifestError, match="no ActivityNet list"):
        get("activitynet").read(tmp_path)


def test_segments_of_activitynet_that_end_before_they_begin_are_counted(tmp_path):
    notes = [{"segment": [a, b], "label": "jump"} for a, b in ((0, 1), (2, 2), (4, 3))]
    database = {"x": {"subset": "training", "annotations": notes}}
    (tmp_path / "activity_net.v1-3.min.json").write_text(json.dumps({"database": database}))
    listing = get("activitynet", train_on="segments").read(tmp_path)
    assert [(e.start, e.end) for e in listing.splits[0].train] == [(0.0, 1.0)]
    assert "2 segments end before they begin, and are left out" in listing.notes


@pytest.fixture
def ucf(mini, tmp_path):
    """A copy of the miniature that may be spoiled."""
    shutil.copytree(mini("ucf101"), tmp_path / "ucf")
    return tmp_path / "ucf"


def lists(root, name):
    path = root / "ucfTrainTestlist" / name
    return path, path.read_text().splitlines()


def test_a_group_in_training_and_test_is_refused(ucf, net):
    path, lines = lists(ucf, "testlist01.txt")
    path.write_text("\n".join([*lines, "Arrow/v_Arrow_g02_c01.avi"]))
    with pytest.raises(ManifestError, match=r"1 videos are in training and test of split 1: .*g02"):
        get("ucf101").run(ucf, net(*CLASSES), partial=True)
    path.write_text("\n".join([*lines, "Arrow/v_Arrow_g02_c09.avi"]))
    with pytest.raises(ManifestError, match=r"1 groups are in training and test .*Arrow g02"):
        get("ucf101").run(ucf, net(*CLASSES), partial=True)


def test_a_line_that_is_there_twice_is_refused(ucf, net):
    path, lines = lists(ucf, "trainlist02.txt")
    path.write_text("\n".join([*lines, lines[0]]))
    with pytest.raises(ManifestError, match=r"1 videos are listed twice in split 2: Arrow/"):
        get("ucf101").run(ucf, net(*CLASSES), partial=True)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("Arrow/v_Arrow_g02_c01.avi 2", r"label 2 is 'Bowling' in classInd\.txt, .* 'Arrow'"),
        ("Arow/v_Arow_g02_c01.avi 1", "unknown class: 'Arow'. Did you mean Arrow"),
        ("v_Arrow_g02_c01.avi 1", r"line 1: .*wanted `Class/v_Class"),
        ("Arrow/v_Arrow_g02_c01.avi one", r"line 1: .*wanted `Class/v_Class"),
    ],
)
def test_lines_that_contradict_the_classes_are_told(ucf, line, told):
    path, lines_ = lists(ucf, "trainlist01.txt")
    path.write_text("\n".join([line, *lines_[1:]]))
    with pytest.raises(ManifestError, match=told):
        get("ucf101").read(ucf)


def test_missing_unreadable_and_unlisted_videos_are_counted(ucf, net):
    home = ucf / "UCF-101"
    (home / "Arrow/v_Arrow_g01_c01.avi").unlink()
    (home / "Bowling/v_Bowling_g02_c02.avi").write_bytes(b"no video")
    shutil.copy(home / "Cycling/v_Cycling_g01_c01.avi", home / "Cycling/extra.avi")
    score = get("ucf101", clips=1).run(ucf, net(*CLASSES), partial=True)
    assert sorted(score.missing) == [
        "Arrow/v_Arrow_g01_c01.avi",
        "Bowling/v_Bowling_g02_c02.avi",
    ]
    assert score.deviations[0] == "2 listed videos left out"
    assert (score.counts["1 train"], score.counts["1 test"]) == (11, 5)
    assert "1 videos on the disk are in no list, the first extra.avi" in score.notes
    told = score.lines()
    assert any(line.startswith("missing\tArrow/v_Arrow_g01_c01.avi\tnot on") for line in told)


def test_videos_shorter_than_a_clip_are_counted(ucf):
    from pseudo3d.protocols.looking import usable

    found = usable(get("ucf101", splits=(1,)).read(ucf), 13)
    assert any(note.startswith("18 of 18 videos have fewer than the 13") for note in found.notes)
    assert usable(get("ucf101", splits=(1,)).read(ucf), 12).notes == ()


def test_training_on_one_class_is_refused(ucf, net):
    path, lines_ = lists(ucf, "trainlist01.txt")
    path.write_text("\n".join(line for line in lines_ if line.startswith("Arrow")))
    with pytest.raises(ManifestError, match="split 1: its 4 training videos are of one class"):
        get("ucf101", clips=1, splits=(1,)).run(ucf, net(*CLASSES), partial=True)


def test_kinetics_lists_of_several_ages(tmp_path):
    header = ["label", "youtube_id", "time_start", "time_end", "split", "is_cc"]
    rows = [
        ["riding a bike", "abcdefghijk", "10", "20", "train", "0"],
        ['"playing_chess"', "bbcdefghijk", "5.0", "15.0", "validate", "1"],
        ["", "cbcdefghijk", "0", "10", "test", "0"],
        ["riding a bike", "abcdefghijk", "30", "40", "val", "0"],
    ]
    path = tmp_path / "k.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        csv.writer(file).writerows([header, *rows])
    folder = tmp_path / "playing_chess"
    folder.mkdir()
    (folder / "bbcdefghijk_000005_000015.mp4").write_bytes(b"x")
    listing = get("kinetics").read(tmp_path)
    assert listing.classes == ("playing chess", "riding a bike")
    assert [e.name for e in listing.splits[0].test] == [
        "bbcdefghijk_000005_000015",
        "abcdefghijk_000030_000040",
    ]
    assert listing.splits[0].test[0].path == folder / "bbcdefghijk_000005_000015.mp4"
    assert listing.notes == ("1 YouTube videos give clips to training and val",)
    assert get("kinetics", part="test").read(tmp_path).splits[0].test[0].labels == ()
    path.write_text("label,youtube_id,split\n")
    with pytest.raises(ManifestError, match="lacks the columns time_start, time_end"):
        get("kinetics").read(tmp_path)
    path.write_text(",".join(header) + "\na,b,c,d,val,0\n")
    with pytest.raises(ManifestError, match="row 2: time_start 'c'"):
        get("kinetics").read(tmp_path)


def test_yupenn_as_folders_of_frames(tmp_path):
    from PIL import Image

    from pseudo3d.data.video import read_video

    for label in ("Beach", "Street"):
        for video in ("a", "b"):
            folder = tmp_path / "frames" / label / video
            folder.mkdir(parents=True)
            for t in (1, 2, 10):
                Image.new("RGB", (33, 32), (t, 20 * t, 0)).save(folder / f"image-{t}.png")
    listing = get("yupenn").read(tmp_path)
    names = sorted(entry.name for entry in listing.entries)
    assert names == ["Beach/a", "Beach/b", "Street/a", "Street/b"]
    assert listing.wrong[0] == "classes: 2, published 14"
    frames = read_video(listing.splits[0].test[0].path).frames
    assert frames[:, :, 0, 0].T.tolist() == [[1, 20, 0], [2, 40, 0], [10, 200, 0]]


def test_frames_are_not_mixed_with_the_flow_beside_them(tmp_path):
    from PIL import Image

    from pseudo3d.data.video import read_video

    folder = tmp_path / "raw" / "v0"
    folder.mkdir(parents=True)
    for t in range(1, 5):
        for name, value in (("img", 200), ("flow_x", 128), ("flow_y", 50)):
            Image.new("RGB", (32, 32), (value + t,) * 3).save(folder / f"{name}_{t:05}.png")
    (folder / "._img_00001.png").write_bytes(b"of another system")
    (tmp_path / "train.txt").write_text("raw/v0 4 0\n")
    (tmp_path / "test.txt").write_text("raw/v0 9 0\n")

    def read():
        listing = get("lists", task="end_to_end", form="tsn").read(tmp_path)
        return listing, read_video(listing.splits[0].test[0].path).frames[0, :, 0, 0].tolist()

    listing, values = read()
    assert values == [201, 202, 203, 204]
    note = "1 folders hold another number of frames than the list says: raw/v0"
    assert listing.notes == ("the form of the lists is tsn", note)
    Image.new("RGB", (32, 32), (205,) * 3).save(folder / "img_00005.png")
    assert read()[1] == [201, 202, 203, 204, 205]
    (folder / "img_00003.png").write_bytes(b"no picture")
    with pytest.raises(VideoError, match=r"img_00003.*wanted pictures, all of one size"):
        frames_video(folder, tmp_path / "v.mp4")
    for path in folder.glob("img_*"):
        path.unlink()
    with pytest.raises(VideoError, match=r"flow_x_#\.png, flow_y_#\.png; wanted one series"):
        frames_video(folder, tmp_path / "v.mp4")


def test_frames_follow_every_number_of_their_names(tmp_path):
    for name in ("s2_1", "s1_10", "s1_9"):
        (tmp_path / f"{name}.png").touch()
    assert [p.stem for p in pictures(tmp_path)] == ["s1_9", "s1_10", "s2_1"]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["a/b.mp4 x y"], "wanted `path start_frame label`"),
        (["a.mp4 10 0", "a.mp4 20 1"], "a.mp4 has the labels 0 and 1"),
        (["a.mp4 10 7"], "label 7, but there are 3 names"),
        ([], "is empty"),
    ],
)
def test_list_lines_that_mean_nothing_are_told(mini, tmp_path, lines, told):
    root = mini("lists")
    (tmp_path / "names.txt").write_bytes((root / "names.txt").read_bytes())
    for name in ("train.txt", "test.txt"):
        (tmp_path / name).write_text("\n".join(lines))
    with pytest.raises(ManifestError, match=told):
        get("lists", names="names.txt").read(tmp_path)


def test_c3d_lists_of_frame_folders_and_blanks_in_paths(tmp_path):
    (tmp_path / "train.txt").write_text("a b/v1/ 1 0\na b/v1/ 17 0\nc/v2/ 1 1\n")
    (tmp_path / "test.txt").write_text("a b/v 3.avi 240 0\nd.avi 200 1\n")
    listing = get("lists").read(tmp_path)
    assert [e.name for e in listing.splits[0].train] == ["a b/v1/", "c/v2/"]
    assert [e.name for e in listing.splits[0].test] == ["a b/v 3.avi", "d.avi"]
    assert "start frames are not used: clips are placed by the protocol" in listing.notes
    (tmp_path / "test.txt").write_text("e f.avi 1\nd.avi 0\n")
    assert get("lists", task="end_to_end").read(tmp_path).notes == (
        "the form of the lists is plain",
    )


def test_every_miniature_is_written_the_same_twice(mini, tmp_path):
    for name in ("ucf101", "sports1m"):
        again = write_miniature(name, tmp_path / name)
        files = [f.relative_to(again) for f in sorted(again.rglob("*")) if f.is_file()]
        assert files
        for file in files:
            assert (again / file).read_bytes() == (mini(name) / file).read_bytes()


def test_options_are_checked():
    with pytest.raises(TypeError, match=r"unknown option of ucf101: 'clip'\. Did you mean clips"):
        get("ucf101", clip=3)
    with pytest.raises(ValueError, match="option task of ucf101 is 'svn'; wanted 'svm', 'end_to_"):
        get("ucf101", task="svn")
    with pytest.raises(ValueError, match="option clips of kinetics is '3'; wanted int"):
        get("kinetics", clips="3")
    with pytest.raises(ValueError, match=r"unknown protocol: 'ucf11'\. Did you mean ucf101"):
        get("ucf11")


@pytest.mark.parametrize("name", names())
def test_describe_names_files_options_and_published_figures(name):
    protocol = get(name)
    text = protocol.describe()
    for f in options_of(protocol):
        assert f"  {f.name}={getattr(protocol, f.name)!r}  " in text
    assert all(line in text for line in protocol.reads)
    assert all(f"{p.what}: {p.figures} [{p.source}]" in text for p in protocol.published)


def test_a_leak_is_found_by_file_too(tmp_path):
    one, other = (Entry(name=n, path=tmp_path / "v.avi", labels=("a",)) for n in "xy")
    split = Split(name="1", train=(one,), test=(other,))
    with pytest.raises(ManifestError, match="1 videos are in training and test"):
        admit(Listing(root=tmp_path, classes=("a",), splits=(split,)), partial=True)


def test_a_scene_that_cannot_be_read_takes_its_fold_with_it(mini, net, tmp_path):
    root = tmp_path / "yupenn"
    shutil.copytree(mini("yupenn"), root)
    bad = root / "YUPENN_dynamic_scenes_data_set/Beach/Beach_2.avi"
    bad.write_bytes(b"no video")
    score = get("yupenn", clips=1).run(root, net("x", "y"), partial=True)
    assert list(score.missing) == ["Beach/Beach_2.avi"]
    assert len(score.parts) == 8
    assert "videos of Beach: 3, published 30" in score.deviations
