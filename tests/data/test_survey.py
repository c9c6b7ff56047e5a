"""A survey tells what every file really holds, whatever state it is in."""

import csv
import json
import shutil
from dataclasses import asdict, fields
from fractions import Fraction

import av
import pytest
import torch

from pseudo3d.data.survey import FileReport, survey, survey_data
from pseudo3d.data.video import write_video
from pseudo3d.errors import ManifestError


def as_written(report):
    """A report as a row of the table of expected values."""
    row = {k: "" if v is None else str(v) for k, v in asdict(report).items() if k != "problem"}
    if report.rotation:
        row["rotation"] = f"[{report.rotation}]"
    return row


def test_every_column_of_every_odd_file_is_as_expected(shared_data):
    odd = shared_data / "videos/odd"
    with (odd / "expected.csv").open(newline="") as file:
        expected = {row["file"]: row for row in csv.DictReader(file)}
    reports = survey_data(odd).reports
    found = {report.file: as_written(report) for report in reports}
    assert all(row.pop("fps") or not row["decoded_frames"] for row in found.values())
    assert found == expected
    assert len(found) == 45


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("trunc40_ApplyEyeMakeup.avi", "silent loss: 164 frames declared, 61 decoded"),
        ("decord_corrupted.mp4", "decode error after 28 of 50 frames: InvalidDataError"),
        ("carphone_1frame.mp4", "one frame"),
        ("audio_only.mp4", "no video stream"),
        ("empty.mp4", "unreadable: the file is empty"),
        ("text.mp4", "unreadable: InvalidDataError"),
        ("tc_av1_video.mkv", None),
        ("vfr_carphone.mp4", None),
        ("lost.mp4", "missing"),
    ],
)
def test_problems_are_told_in_words(shared_data, name, problem):
    (report,) = survey([shared_data / "videos/odd" / name])
    assert report.problem == problem


@pytest.mark.parametrize(
    ("name", "codec", "rate", "stamps", "varies"),
    [
        ("rounded.mkv", "libx264", 120, range(20), False),  # steps of 8 and 9 ms
        ("dropped.mkv", "libx264", 120, [0, 1, 2, 4, 5, 6], True),
        ("dropped.avi", "mjpeg", 25, [0, 1, 2, 4, 5, 6], True),  # one tick is one frame
        ("steady.avi", "mjpeg", 25, range(6), False),
    ],
)
def test_rounded_time_stamps_are_no_variable_rate(tmp_path, name, codec, rate, stamps, varies):
    with av.open(str(tmp_path / name), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for stamp in stamps:
            frame = av.VideoFrame(32, 32, stream.pix_fmt)
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.pts, frame.time_base = stamp, Fraction(1, rate)
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    (report,) = survey([tmp_path / name])
    assert (report.variable_rate, report.decoded_frames) == (varies, len(stamps))


def test_damage_anywhere_ends_in_a_report(tmp_path, shared_data):
    raw = (shared_data / "videos/odd/decord_unordered.mov").read_bytes()
    draw = torch.Generator().manual_seed(0)
    for _ in range(100):
        damaged = bytearray(raw)
        for _ in range(8):
            spot, value = torch.randint(0, 2**16, (2,), generator=draw).tolist()
            damaged[spot % len(raw)] = value % 256
        (tmp_path / "damaged.mov").write_bytes(damaged)
        (report,) = survey([tmp_path / "damaged.mov"])
        assert isinstance(report, FileReport)


@pytest.fixture
def classes(tmp_path):
    """Two classes with clips of 4, 6 and 9 frames, one damaged file and one text file."""
    for name, count in [("run/a.mp4", 4), ("run/b.mp4", 6), ("walk/c.mp4", 9)]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_video(tmp_path / name, torch.zeros(3, count, 16, 24, dtype=torch.uint8), 10)
    (tmp_path / "walk/bad.mp4").write_bytes(b"nothing")
    (tmp_path / "walk/notes.txt").touch()
    return tmp_path


def test_a_folder_per_class_is_summed_up(classes):
    steps = []
    summary = survey_data(classes, progress=lambda done, total: steps.append((done, total)))
    assert summary.classes == {"run": 2, "walk": 2}
    assert (summary.files, summary.frames) == (4, 19)
    assert summary.lengths == {"min": 4, "median": 6, "max": 9}
    assert summary.sizes == {"24x16": 3}
    assert summary.problems == {"walk/bad.mp4": "unreadable: InvalidDataError"}
    assert [name.rsplit("/", 1)[-1] for name in summary.skipped] == ["notes.txt"]
    assert steps == [(i, 4) for i in range(1, 5)]
    plain = json.loads(json.dumps(summary.to_dict()))
    assert plain["reports"][0]["file"] == "run/a.mp4"
    assert set(plain["reports"][0]) == {f.name for f in fields(FileReport)}


def test_a_manifest_counts_items_and_decodes_each_file_once(classes):
    text = "path,label,group,split,start,end\nrun/a.mp4,x,p1,train,0,0.1\n"
    text += "run/a.mp4,y,p1,train,0.2,0.3\nwalk/c.mp4,y,p2,test,,\n"
    (classes / "list.csv").write_text(text)
    summary = survey_data(classes / "list.csv")
    assert [r.file for r in summary.reports] == ["run/a.mp4", "walk/c.mp4"]
    assert summary.classes == {"x": 1, "y": 2}
    assert summary.groups == {"p1": 2, "p2": 1}
    assert summary.splits == {"test": 1, "train": 2}


def test_a_plain_folder_and_one_file_need_no_labels(classes):
    shutil.rmtree(classes / "run")
    flat = classes / "walk"
    (flat / "table.csv").touch()
    assert [r.file for r in survey_data(flat).reports] == ["bad.mp4", "c.mp4", "notes.txt"]
    assert [r.file for r in survey_data(flat / "c.mp4").reports] == ["c.mp4"]
    assert survey_data(flat).classes == {}


def test_nothing_to_survey_is_an_error(tmp_path):
    with pytest.raises(ManifestError, match="holds no files"):
        survey_data(tmp_path)
    with pytest.raises(ManifestError, match="does not exist"):
        survey_data(tmp_path / "nowhere")
