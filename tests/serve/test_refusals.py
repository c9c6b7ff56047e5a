"""Uploads that are refused: each with its code and one sentence, and the service goes on."""

import struct
import zlib

import av
import pytest

from serve.serving import FORM, HEAD, httpx, raw, refused, request, until


def gif(width, height):
    """A picture of so many pixels in 40 bytes."""
    head = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0)
    return head + image + b"\x02\x02\x44\x01\x00\x3b"


def test_an_empty_file(running, tmp_path):
    path = tmp_path / "none.mp4"
    path.touch()
    refused(running.post(path), 422, "unreadable", "none.mp4", "0 bytes")


def test_text_and_pictures_are_no_videos(running, tmp_path):
    for name, content in (("t.mp4", b"not a video at all " * 99), ("p.png", b"\x89PNG\r\n\x1a\n")):
        (tmp_path / name).write_bytes(content)
        message = refused(running.post(tmp_path / name), 422, "unreadable", name, "MP4")
        assert str(tmp_path) not in message
        assert "/" not in message.replace("/ ", "")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{film}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{film}'\n",
        "[playlist]\nFile1={film}\n",
    ],
)
def test_a_file_that_names_other_files_is_not_followed(running, films, tmp_path, text):
    path = tmp_path / "list.mp4"
    path.write_text(text.format(film=films[0]))
    refused(running.post(path), 422, "unreadable", "is no video")


def test_a_declared_length_beyond_the_limit_is_refused_before_the_body(running):
    answer = raw(running, request(5 * 2**30), HEAD)  # and no more of the 5 GiB
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"too_large"' in answer
    assert b"connection: close" in answer.lower()
    until(running.empty)


def test_an_upload_without_a_length_is_stopped_at_the_limit(running):
    sent = 0

    def endless():
        nonlocal sent
        yield HEAD
        while sent < 500_000_000:
            sent += 65536
            yield bytes(65536)

    answer = running.client.post("/predict", content=endless(), headers={"Content-Type": FORM})
    refused(answer, 413, "too_large", "2000000 bytes")
    assert sent < 200_000_000
    until(running.empty)


def test_a_picture_of_16k_pixels_is_refused_by_its_header(running, tmp_path):
    path = tmp_path / "vast.gif"
    path.write_bytes(gif(16384, 16384))
    refused(running.post(path), 413, "too_large", "1000000 pixels")


def test_too_many_frames_and_too_long(running, tmp_path, films):
    many = tmp_path / "many.mp4"
    repeat(films[0], many, 700, 1)
    refused(running.post(many), 413, "too_large", "600 frames")
    long = tmp_path / "long.mp4"
    repeat(films[0], long, 30, 10)
    refused(running.post(long), 413, "too_large", "20 s")


def repeat(source, target, frames, slower):
    """One key frame over and over: many frames in few bytes."""
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        packet = next(read.demux(video=0))
        into = write.add_stream_from_template(read.streams.video[0])
        step = int(slower / 10 / packet.time_base)
        data = bytes(packet)
        for i in range(frames):
            again = av.Packet(data)
            again.stream, again.time_base = into, packet.time_base
            again.pts = again.dts = i * step
            again.is_keyframe = True
            write.mux(again)


def test_a_request_without_a_file_says_how_to_send_one(running, films):
    refused(running.client.post("/predict"), 400, "bad_request", "multipart")
    refused(running.client.post("/predict", content=b"x"), 400, "bad_request", "curl")
    other = {"film": ("a.mp4", films[0].read_bytes())}
    refused(running.client.post("/predict", files=other), 400, "bad_request", "'file'")
    two = [("file", ("a.mp4", b"1")), ("file", ("b.mp4", b"2"))]
    refused(running.client.post("/predict", files=two), 400, "bad_request", "two files")
    damaged = running.client.post("/predict", content=b"no parts", headers={"Content-Type": FORM})
    refused(damaged, 400, "bad_request", "damaged")


@pytest.mark.parametrize("query", ["top=0", "top=x", "explain=maybe", "index=-1"])
def test_a_wrong_query_is_named(running, query):
    answer = running.client.post(f"/predict?{query}", content=b"")
    refused(answer, 400, "bad_request", query.partition("=")[0], "/docs")


def test_unknown_paths_and_methods(running):
    refused(running.client.get("/nothing"), 404, "bad_request", "/nothing")
    refused(running.client.get("/predict"), 405, "bad_request", "GET")
    refused(running.client.get("/static/../service.py"), 404, "bad_request")
    refused(running.client.get("/static/nothing.js"), 404, "bad_request")


def test_a_name_with_folders_or_control_characters_is_only_a_name(running, films):
    for given, shown in (("../../etc/x.mp4", "x.mp4"), ("C:\\films\\y.mp4", "y.mp4")):
        files = {"file": (given, films[0].read_bytes())}
        answer = running.client.post("/predict", files=files)
        assert answer.json()["source"] == shown
    until(running.empty)


def test_a_client_that_leaves_in_the_middle_of_its_upload(running):
    raw(running, request(1_000_000), HEAD + bytes(5000), close=True)
    until(running.empty)


def test_a_client_that_stops_sending_is_told_so(running):
    answer = raw(running, request(1_000_000), HEAD + bytes(5000))
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"timeout"' in answer
    until(running.empty)


def test_a_client_that_leaves_before_its_answer_costs_nothing_more(running, films):
    before = running.service.metrics.gone
    body = HEAD + films[3].read_bytes() + b"\r\n--XX--\r\n"
    raw(running, request(len(body)), body, close=True)
    until(lambda: running.service.metrics.gone > before or running.empty())
    until(running.empty)
    until(lambda: running.service.batcher.waiting == 0 and not running.service.batcher.lanes)
    assert running.post(films[0]).status_code == 200


def test_compressed_nonsense_of_every_kind_is_one_of_two_codes(running, tmp_path, films):
    """Bytes of a real file, shaken in several places."""
    whole = films[1].read_bytes()
    for seed in range(6):
        shaken = bytearray(whole)
        for i in range(40):
            at = zlib.crc32(bytes([seed, i])) % len(whole)
            shaken[at] ^= 0x5A
        path = tmp_path / f"{seed}.mp4"
        path.write_bytes(bytes(shaken))
        answer = running.post(path)
        assert answer.status_code in (200, 413, 422), answer.text
    until(running.empty)
    assert isinstance(running.client, httpx.Client)
