"""A download is whole and as published, or it is not there; what broke off goes on."""

import errno
import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request

import pytest

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.published import download as module
from pseudo3d.recycle.published.download import Digest, default_folder, download, hash_of

CONTENT = bytes(range(256)) * 4000
SHA256 = Digest(algorithm="sha256", digits=hashlib.sha256(CONTENT).hexdigest())


class Handler(BaseHTTPRequestHandler):
    """One file, as the server's `how` says."""

    def do_GET(self):
        how = self.server.how
        self.server.asked.append((self.path, self.headers.get("Range")))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", how["to"])
            self.end_headers()
            return
        if self.path != "/f.pth":
            self.send_error(404)
            return
        body, start = how["content"], 0
        asked = self.headers.get("Range")
        same = self.headers.get("If-Range") in (None, how["etag"])
        if asked and same and how["ranges"]:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Type", how["type"])
        if how["etag"]:
            self.send_header("ETag", how["etag"])
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if how["length"]:
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start : start + how["most"]] if how["most"] else body[start:])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.daemon_threads = True
        found.asked = []
        found.how = {
            "content": CONTENT,
            "etag": '"1"',
            "ranges": True,
            "type": "application/octet-stream",
            "length": True,
            "most": None,
            "to": "/f.pth",
        }
        threading.Thread(target=found.serve_forever, args=(0.02,), daemon=True).start()
        found.address = f"http://127.0.0.1:{found.server_address[1]}/f.pth"
        yield found
        found.shutdown()


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def break_off(server, target, after=300_000):
    """A first attempt that ends early."""
    server.how["most"] = after
    with pytest.raises(WeightsError, match=r"broke off after 300000 of.*0.3 MB are kept"):
        download(server.address, target, SHA256)
    server.how["most"] = None


def test_the_whole_file_comes_under_its_name_and_the_progress_ends_at_its_size(server, tmp_path):
    seen = []
    target = tmp_path / "new" / "f.pth"
    assert download(server.address, target, SHA256, lambda *done: seen.append(done)) is True
    assert target.read_bytes() == CONTENT
    assert names(target.parent) == ["f.pth"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [d for d, _ in seen] == sorted(d for d, _ in seen)


def test_a_file_that_is_there_is_not_fetched_again(server, tmp_path):
    (tmp_path / "f.pth").write_bytes(CONTENT)
    assert download(server.address, tmp_path / "f.pth", SHA256) is False
    assert server.asked == []


def test_a_file_that_is_there_with_another_digest_is_replaced(server, tmp_path):
    (tmp_path / "f.pth").write_bytes(b"other")
    assert download(server.address, tmp_path / "f.pth", SHA256) is True
    assert (tmp_path / "f.pth").read_bytes() == CONTENT


def test_what_broke_off_goes_on_where_it_was(server, tmp_path):
    break_off(server, tmp_path / "f.pth")
    assert names(tmp_path) == ["f.pth.part", "f.pth.part.stamp"]
    seen = []
    download(server.address, tmp_path / "f.pth", SHA256, lambda *done: seen.append(done))
    assert server.asked[-1][1] == "bytes=300000-"
    assert seen[0][0] > 300_000
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert (tmp_path / "f.pth").read_bytes() == CONTENT
    assert names(tmp_path) == ["f.pth"]


@pytest.mark.parametrize("change", [{"etag": '"2"'}, {"ranges": False}])
def test_what_cannot_go_on_begins_anew(server, tmp_path, change):
    break_off(server, tmp_path / "f.pth")
    (tmp_path / "f.pth.part").write_bytes(b"x" * 300_000)  # as if of another version
    server.how.update(change)
    download(server.address, tmp_path / "f.pth", SHA256)
    assert (tmp_path / "f.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("etag", ["", 'W/"1"'])
def test_without_a_firm_version_nothing_is_continued(server, tmp_path, etag):
    server.how["etag"] = etag
    break_off(server, tmp_path / "f.pth")
    download(server.address, tmp_path / "f.pth", SHA256)
    assert server.asked[-1][1] is None
    assert (tmp_path / "f.pth").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_begins_anew(server, tmp_path):
    break_off(server, tmp_path / "f.pth")
    (tmp_path / "f.pth.part").write_bytes(CONTENT + b"more")
    download(server.address, tmp_path / "f.pth", SHA256)
    assert (tmp_path / "f.pth").read_bytes() == CONTENT


def test_another_digest_leaves_neither_file_nor_part(server, tmp_path):
    server.how["content"] = CONTENT[:-1] + b"?"
    with pytest.raises(WeightsError, match=rf"sha256 of what came is .*, wanted {SHA256.digits}"):
        download(server.address, tmp_path / "f.pth", SHA256)
    assert names(tmp_path) == []


def test_the_first_digits_of_a_digest_are_enough_and_case_does_not_count(server, tmp_path):
    first = Digest(algorithm="sha256", digits=SHA256.digits[:8].upper())
    assert download(server.address, tmp_path / "f.pth", first)
    wrong = Digest(algorithm="sha1", digits="00000000")
    with pytest.raises(WeightsError, match="sha1 of what came"):
        download(server.address, tmp_path / "g.pth", wrong)


def test_a_server_that_does_not_say_the_length_is_believed(server, tmp_path):
    server.how["length"] = False
    seen = []
    download(server.address, tmp_path / "f.pth", SHA256, lambda *done: seen.append(done))
    assert (tmp_path / "f.pth").read_bytes() == CONTENT
    assert seen[-1][1] == 0


def test_a_web_page_is_not_taken_for_a_file(server, tmp_path):
    server.how["type"] = "text/html; charset=utf-8"
    with pytest.raises(WeightsError, match=r"web page came instead.*browser"):
        download(server.address, tmp_path / "f.pth")
    assert names(tmp_path) == []


@pytest.mark.parametrize("scheme", ["file", "ftp", "data", "gopher", ""])
def test_other_schemes_are_refused(scheme, tmp_path):
    with pytest.raises(WeightsError, match=rf"scheme '{scheme}'; wanted https or http"):
        download(f"{scheme}:///etc/hostname" if scheme else "f.pth", tmp_path / "f.pth")
    assert names(tmp_path) == []


@pytest.mark.parametrize("to", ["file:///etc/hostname", "ftp://127.0.0.1/f.pth"])
def test_redirects_to_other_schemes_are_refused(server, tmp_path, to):
    server.how["to"] = to
    with pytest.raises(WeightsError, match=r"wanted https or http|is not allowed"):
        download(server.address.replace("f.pth", "moved"), tmp_path / "f.pth")
    assert names(tmp_path) == []


def test_redirects_within_http_are_followed(server, tmp_path):
    assert download(server.address.replace("f.pth", "moved"), tmp_path / "f.pth", SHA256)
    assert [path for path, _ in server.asked] == ["/moved", "/f.pth"]


def test_redirects_from_https_down_to_http_are_refused():
    request = Request("https://example.org/f.pth")
    with pytest.raises(WeightsError, match="from https to http"):
        module._Redirects().redirect_request(request, None, 302, "", {}, "http://example.org/f")
    assert module._Redirects().redirect_request(request, None, 302, "", {}, "https://example.org/f")


def test_a_missing_file_is_told_with_the_servers_words(server, tmp_path):
    with pytest.raises(WeightsError, match=r"answers 404 Not Found.*use it from disk"):
        download(server.address.replace("f.pth", "none"), tmp_path / "f.pth")


def test_no_connection_is_told_in_one_line(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(WeightsError, match=r"refused.*use a file from disk") as err:
        download(server.address, tmp_path / "f.pth")
    assert "\n" not in str(err.value)


def test_a_full_disk_keeps_what_came(server, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match="No space left"):
        download(server.address, tmp_path / "f.pth", SHA256)
    assert "f.pth" not in names(tmp_path)


def test_two_at_once_do_not_make_one_wrong_file(server, tmp_path):
    """Without a digest, only the length can tell that somebody else wrote into the same part."""

    def meddle(done, total):
        with (tmp_path / "f.pth.part").open("ab") as file:
            file.write(b"x")

    with pytest.raises(WeightsError, match="another process"):
        download(server.address, tmp_path / "f.pth", None, meddle)
    assert "f.pth" not in names(tmp_path)


def test_the_cache_folder_follows_the_users_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "pseudo3d" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().parts[-3:] == (".cache", "pseudo3d", "weights")


def test_hashes_are_those_of_hashlib(tmp_path):
    (tmp_path / "f").write_bytes(CONTENT)
    assert hash_of(tmp_path / "f") == SHA256.digits
    assert hash_of(tmp_path / "f", "sha1") == hashlib.sha1(CONTENT).hexdigest()
