"""What a user writes becomes a source; no name gives a password away."""

import os
import sys
from pathlib import Path

import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch.sources import parse_source, parse_sources


def test_addresses_are_streams_and_their_names_hold_no_secret():
    source = parse_source("rtsp://admin:secret@10.0.0.7:554/cam/1?key=abc")
    assert (source.kind, source.name) == ("stream", "10.0.0.7:554/cam/1")
    assert source.url == "rtsp://admin:secret@10.0.0.7:554/cam/1?key=abc"
    assert source.options["rtsp_transport"] == "tcp"
    assert "rtsp_transport" not in parse_source("http://host/x.mjpg").options


@pytest.mark.skipif(sys.platform != "linux", reason="cameras have other names elsewhere")
def test_numbers_and_devices_are_cameras():
    assert parse_source("0").url == parse_source("/dev/video0").url == "/dev/video0"
    assert parse_source("0").name == "camera0"
    assert parse_source("2").format == "v4l2"


def test_files_are_named_after_themselves(tmp_path):
    path = tmp_path / "door=a.mp4"
    path.touch()
    source = parse_source(str(path))
    assert (source.kind, source.name, source.options) == ("file", "door=a", {})


def test_a_name_may_stand_in_front(tmp_path):
    path = tmp_path / "x.mp4"
    path.touch()
    assert parse_source(f"door={path}").name == "door"
    assert parse_source("gate=rtsp://h/1?a=b").url == "rtsp://h/1?a=b"
    assert parse_source("rtsp://h/1?a=b").name == "h/1"


def test_two_sources_of_one_name_are_told_apart():
    found = parse_sources(["a=0", "a=1", "a=2"], loop=True)
    assert [source.name for source in found] == ["a", "a-2", "a-3"]
    assert all(source.loop for source in found)


@pytest.mark.parametrize(
    ("text", "words"),
    [("gopher://u:p@h/x", r"^gopher://h/x: cannot watch 'gopher'"), ("ftp://h", "rtsp")],
)
def test_other_addresses_are_refused(text, words):
    with pytest.raises(Pseudo3dError, match=words):
        parse_source(text)


def test_a_missing_file_is_said_with_the_place_searched():
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4: no such file.*searched in"):
        parse_source("nowhere.mp4")


def test_a_file_whose_name_is_not_utf8_gets_a_name_that_can_be_written(tmp_path):
    path = os.path.join(tmp_path, os.fsdecode(b"caf\xe9.mp4"))  # noqa: PTH118 (bytes in a name)
    Path(path).write_bytes(b"x")
    found = parse_source(path)
    assert found.name == r"caf\udce9"
    assert found.url == path
