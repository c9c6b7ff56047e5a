"""Reports reach a file line by line, and a web server however slow or rude it is."""

import json
import os
import socket
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pseudo3d.errors import Pseudo3dError
from pseudo3d.watch import reports
from pseudo3d.watch.reports import Lines, Webhook, iso, line, wall
from pseudo3d.watch.sources import printable


class Hook:
    """A server that answers as told, and keeps what it was sent."""

    def __init__(self, *answers):
        hook = self
        self.answers, self.got, self.heads = list(answers), [], []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.heads.append(dict(self.headers))
                answer = hook.answers.pop(0) if hook.answers else 200
                if answer == 200:
                    hook.got.append(json.loads(body))
                self.send_response(answer)
                self.end_headers()

            def log_message(self, *about):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?key=secret"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture(autouse=True)
def _soon(monkeypatch):
    monkeypatch.setattr(reports, "_FIRST", 0.02)


def test_reports_arrive_in_order_as_json():
    notes = []
    with Hook() as hook:
        with Webhook(hook.url, notes.append) as post:
            for i in range(5):
                post({"event": "start", "number": i, "label": "wäve"})
        assert [report["number"] for report in hook.got] == [0, 1, 2, 3, 4]
    assert hook.got[0]["label"] == "wäve"
    assert hook.heads[0]["Content-Type"] == "application/json"
    assert (post.lost, notes) == (0, [])


def test_a_server_in_trouble_is_asked_again():
    with Hook(500, 503, 200) as hook, Webhook(hook.url, print) as post:
        post({"number": 1})
        post.close()
        assert hook.got == [{"number": 1}]
        assert post.lost == 0


def test_a_server_that_refuses_is_not_asked_again_and_the_loss_is_said():
    notes = []
    with Hook(403) as hook, Webhook(hook.url, notes.append) as post:
        for i in range(2):
            post({"number": i})
        post.close()
        assert hook.got == [{"number": 1}]
    assert post.lost == 1
    assert notes == ["web hook at 127.0.0.1: it answers 403; 1 reports lost so far"]
    assert "secret" not in notes[0]


def test_a_dead_server_delays_nobody_and_fills_no_log(monkeypatch):
    monkeypatch.setattr(reports, "_WAITING", 20)
    notes = []
    post = Webhook("http://127.0.0.1:9/x", notes.append)
    began = time.monotonic()
    for i in range(300):
        post({"number": i})
    assert time.monotonic() - began < 2
    assert len(post._waiting) <= 20
    post.close(0.2)
    assert not post._thread.is_alive()
    assert post.lost >= 270
    assert len(notes) <= 10


@pytest.mark.parametrize("url", ["file:///etc/passwd", "hook", "http://"])
def test_what_is_no_web_address_is_refused(url):
    with pytest.raises(Pseudo3dError, match="is no web address"):
        Webhook(url, print)


def test_lines_are_appended_whole_and_at_once(tmp_path):
    path = tmp_path / "sub" / "events.jsonl"
    for i in range(2):
        lines = Lines(path, print)
        lines({"number": i, "label": "a\nb ü"})
        assert json.loads(path.read_text("utf-8").splitlines()[i])["number"] == i
        lines.close()
    assert len(path.read_text("utf-8").splitlines()) == 2


def test_a_full_disk_does_not_end_the_watch(tmp_path):
    notes = []

    class Full:
        def write(self, text):
            raise OSError(28, "No space left on device")

        close = write

    lines = Lines(tmp_path / "x", notes.append)
    lines._file.close()
    lines._file = Full()
    Full.close = lambda self: self.write("")
    for _ in range(3):
        lines({"a": 1})
    lines.close()
    assert len(notes) == 2
    assert "reports are lost until there is room" in notes[0]


def test_times_are_told_in_utc_to_the_millisecond():
    assert iso(0.0625) == "1970-01-01T00:00:00.062+00:00"
    assert wall(time.monotonic() - 5) == pytest.approx(time.time() - 5, abs=0.1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        line({"a": float("nan")})


RUDE = {
    "BadStatusLine": b"oops\r\n\r\n",
    "LineTooLong": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
}


class Rude:
    """A server whose answers are bytes, whatever they mean; `posted` counts requests."""

    def __init__(self, *answers):
        self.answers, self.posted = list(answers), 0
        self.door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.door.getsockname()[1]}/hook?key=secret"
        self.thread = threading.Thread(target=self._work)

    def _work(self):
        with suppress(OSError):
            while True:
                plug = self.door.accept()[0]
                with plug, plug.makefile("rb") as lines:
                    length = 0
                    while (head := lines.readline()).strip():
                        if head.lower().startswith(b"content-length"):
                            length = int(head.split(b":")[1])
                    lines.read(length)
                    self.posted += 1
                    ok = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
                    plug.sendall(self.answers.pop(0) if self.answers else ok)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.door.shutdown(socket.SHUT_RDWR)
        self.door.close()
        self.thread.join()


@pytest.mark.parametrize("kind", RUDE)
def test_an_answer_that_is_no_http_is_asked_again_and_ends_nothing(kind):
    notes = []
    with Rude(RUDE[kind]) as server, Webhook(server.url, notes.append) as post:
        for i in range(3):
            post({"number": i})
        post.close()
        assert server.posted == 4
    assert (post.lost, notes) == (0, [])


def test_a_server_that_never_speaks_http_loses_reports_and_no_address_is_told():
    notes = []
    with Rude(*[RUDE["BadStatusLine"]] * 9) as server, Webhook(server.url, notes.append) as post:
        post({"number": 1})
        post.close()
    assert post.lost == 1
    assert notes == [
        "web hook at 127.0.0.1: what came back is no HTTP (BadStatusLine); 1 reports lost so far"
    ]


def test_an_answer_that_is_cut_short_after_its_yes_counts_and_is_not_asked_again():
    cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"
    notes = []
    with Rude(cut) as server, Webhook(server.url, notes.append) as post:
        for i in range(2):
            post({"number": i})
        post.close()
        assert server.posted == 2
    assert (post.lost, notes) == (0, [])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_a_loss_and_never_a_request_for_a_page(code):
    notes = []
    moved = b"HTTP/1.1 %d Moved\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n" % code
    with Rude(moved) as server, Webhook(server.url, notes.append) as post:
        post({"number": 1})
        post.close()
        assert server.posted == 1
    assert post.lost == 1
    assert f"it answers {code}, a redirect" in notes[0]


def test_what_waits_at_the_end_counts_as_lost_and_is_said(monkeypatch):
    monkeypatch.setattr(reports, "_FIRST", 60.0)
    notes = []
    post = Webhook("http://127.0.0.1:9/x", notes.append)
    for i in range(5):
        post({"number": i})
    post.close(0.3)
    assert post.lost == 5
    assert not post._waiting
    assert "4 still waited at the end; 5 reports lost so far" in notes[-1]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("http://me:hunter2@127.0.0.1/secret", "user or a password"),
        ("https://secret@127.0.0.1/", "user or a password"),
        ("http://127.0.0.1:secret/x", "port"),
        ("http://127.0.0.1:0/secret", "no web address"),
        ("http://127.0.0.1:70000/secret", "port"),
        ("http://[::1/secret", "port or host"),
        ("http://127.0.0.1/a b?key=secret", "a space"),
        ("http://127.0.0.1/secret\n", "control character"),
        ("http://127.0.0.1/sécret", "ASCII"),
    ],
)
def test_an_address_nothing_can_be_sent_to_is_refused_and_not_quoted(url, word):
    with pytest.raises(Pseudo3dError, match=word) as stop:
        Webhook(url, print)
    assert "cret" not in str(stop.value)
    assert "hunter2" not in str(stop.value)


def test_a_name_that_is_not_utf8_is_written_with_its_bytes(tmp_path):
    name = os.fsdecode(b"caf\xe9.mp4")
    lines = Lines(tmp_path / "events.jsonl", print)
    lines({"path": name, "label": "ü"})
    lines.close()
    text = (tmp_path / "events.jsonl").read_text("utf-8")
    assert json.loads(text) == {"path": name, "label": "ü"}
    assert "ü" in text
    assert printable(name) == r"caf\udce9.mp4"
