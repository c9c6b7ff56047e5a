"""What is watched leads nowhere else: a text in place of a video names files and addresses."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import av
import pytest
import torch

from data.containers import stream_of
from pseudo3d.data.writer import write_video
from pseudo3d.errors import VideoError
from pseudo3d.watch.opening import guards, opened
from pseudo3d.watch.sources import parse_source

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
DASH = """<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"
 mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4">
 <Representation id="1" bandwidth="1000" width="64" height="48"><BaseURL>{}</BaseURL>
 <SegmentBase/></Representation></AdaptationSet></Period></MPD>"""
CONCAT = "ffconcat version 1.0\nfile {}\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n{}m=video 9 RTP/AVP 32\n"
TEXTS = {"hls": HLS, "dash": DASH, "concat": CONCAT, "sdp": SDP}
KINDS = {HLS: "application/vnd.apple.mpegurl", DASH: "application/dash+xml", SDP: "application/sdp"}


@pytest.fixture
def segment(tmp_path):
    """A second of video as lists name it."""
    frames = torch.full((3, 25, 48, 64), 90, dtype=torch.uint8)
    write_video(tmp_path / "a.mp4", frames, fps=25)
    return stream_of(tmp_path / "a.mp4", tmp_path / "secret.ts")


class Camera:
    """Answers with `text` at every address but the segment's, and keeps what was asked for."""

    def __init__(self, segment):
        camera = self
        self.text, self.kind, self.asked = "", "text/plain", []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                camera.asked.append(self.path)
                secret = self.path.startswith("/secret")
                body = segment.read_bytes() if secret else camera.text.encode()
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t" if secret else camera.kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *about):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def camera(segment):
    made = Camera(segment)
    thread = threading.Thread(target=made.server.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def shows(place):
    """Whether a frame of a source can be seen."""
    with opened(parse_source(str(place))) as (container, stream):
        return stream is not None and any(True for _ in container.decode(stream))


@pytest.mark.parametrize("name", ["day.m3u8", "day.mpd", "day.mp4", "day.ffconcat", "day.sdp"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_file_leads_to_no_other_file_and_to_no_address(tmp_path, segment, camera, name, text):
    path = tmp_path / name
    for place in (f"{camera.url}/secret.ts", segment.name, str(segment), f"file://{segment}"):
        path.write_text(text.format(place))
        try:
            assert not shows(path)
        except av.FFmpegError:
            continue
    assert camera.asked == []


@pytest.mark.parametrize("end", ["cam.mjpg", "cam", "cam.mp4?list=.m3u8", "cam.sdp"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_camera_that_answers_with_a_list_is_not_followed(camera, end, text):
    camera.text, camera.kind = text.format(f"{camera.url}/secret.ts"), KINDS.get(text, "text/plain")
    with pytest.raises((VideoError, av.FFmpegError)):
        shows(f"{camera.url}/{end}")
    assert set(camera.asked) == {f"/{end}"}


def test_a_list_is_said_to_be_one(camera):
    camera.text, camera.kind = HLS.format("secret.ts"), KINDS[HLS]
    with pytest.raises(VideoError, match="answers with a playlist"):
        shows(f"{camera.url}/cam")


def test_a_list_that_was_asked_for_is_followed_over_the_web(camera):
    camera.text, camera.kind = HLS.format("secret.ts"), KINDS[HLS]
    assert shows(f"{camera.url}/day.M3U8?key=1")
    assert "/secret.ts" in camera.asked


def test_a_list_that_was_asked_for_leads_to_no_file_of_this_machine(camera, segment):
    for place in (f"file://{segment}", f"subfile:{segment}", f"concat:{segment}"):
        camera.text, camera.kind = HLS.format(place), KINDS[HLS]
        try:
            assert not shows(f"{camera.url}/day.m3u8")
        except (VideoError, av.FFmpegError):
            continue
    allowed = guards("https://10.0.0.7/day.m3u8")["protocol_whitelist"].split(",")
    assert sorted(allowed) == ["crypto", "http", "httpproxy", "https", "tcp", "tls"]


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://10.0.0.7/day.m3u8", "hls"),
        ("https://10.0.0.7/a/day.MPD?x=1", "dash"),
        ("http://10.0.0.7/video.mjpg", None),
        ("tcp://10.0.0.7/day.m3u8", None),
        ("rtsp://10.0.0.7/day.mpd", None),
    ],
)
def test_only_the_list_that_the_address_names_is_among_the_formats(url, kind):
    found = guards(url)
    formats = set(found["format_whitelist"].split(","))
    assert formats & {"hls", "dash", "concat", "sdp", "tty"} == ({kind} if kind else set())
    assert {"mpegts", "mpjpeg", "rtsp", "flv"} <= formats
    assert ("protocol_whitelist" in found) is (kind is not None)
