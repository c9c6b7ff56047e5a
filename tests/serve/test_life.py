"""The service over its life: before the network is there, when it is full, when decoders die."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from pseudo3d.engine.predict import predict
from pseudo3d.serve.metrics import resident
from pseudo3d.serve.model import Model
from pseudo3d.serve.settings import Settings
from pseudo3d.serve.upload import Folder, sweep
from serve.serving import HEAD, assert_same, refused, request, serving, until


def pids(running):
    """Processes that decode, now."""
    slots = running.service.decoders._slots
    done = [slot.current for slot in slots]
    return [f.result().process.pid for f in done if f.done() and not f.exception()]


def alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return False


def test_a_service_from_before_it_is_ready_to_its_end(weights, films, monkeypatch):
    go, load = threading.Event(), Model._load

    def slowly(self):
        assert go.wait(60)
        load(self)

    monkeypatch.setattr(Model, "_load", slowly)
    with serving(Settings(weights=weights, port=0, decoders=1), wait=False) as running:
        try:
            assert running.client.get("/").status_code == 200
            assert running.client.get("/health").json() == {"status": "loading"}
            refused(running.client.get("/model"), 503, "not_ready", "loaded")
            answer = running.post(films[0])
            refused(answer, 503, "not_ready", "try again")
            assert int(answer.headers["retry-after"]) > 0
        finally:
            go.set()
        until(lambda: running.client.get("/health").json()["status"] == "ready")
        assert running.client.get("/model").json()["classes"] == ["up", "down", "left", "right"]
        assert_same(running.post(films[0], top=4).json(), predict(weights, films[0]))
        home, (pid,) = running.service.folder.path, pids(running)
        plug = socket.create_connection(("127.0.0.1", running.port))
        plug.sendall(request(1_000_000) + HEAD + bytes(1000))
        until(lambda: list(home.iterdir()))
    plug.close()
    assert not home.exists()
    assert not alive(pid)


def test_weights_that_cannot_be_loaded_are_said_by_every_route(tmp_path):
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no weights")
    with serving(Settings(weights=bad, port=0), wait=False) as running:
        until(lambda: running.client.get("/health").status_code == 503)
        health = running.client.get("/health").json()
        assert health["status"] == "failed"
        assert "bad.safetensors" in health["error"]
        assert str(tmp_path) not in health["error"]
        refused(running.client.get("/model"), 503, "not_ready", "cannot be loaded")
        refused(running.client.post("/predict"), 503, "not_ready")


def test_decoders_that_are_killed_are_replaced_and_nothing_is_lost(running, weights, films):
    expected = [predict(weights, film) for film in films]
    decoders = running.service.decoders
    before = decoders.replaced
    with ThreadPoolExecutor(6) as pool:
        (idle,) = until(lambda: pids(running))
        os.kill(idle, signal.SIGKILL)  # while it has nothing to do
        asked = [pool.submit(running.post, films[i % 4], top=4) for i in range(12)]
        (busy,) = until(lambda: decoders.busy and pids(running) != [idle] and pids(running))
        os.kill(busy, signal.SIGKILL)  # while there is work
        for i, answer in enumerate(asked):
            found = answer.result()
            assert found.status_code == 200, found.text
            assert_same(found.json(), expected[i % 4])
    until(lambda: decoders.replaced >= before + 2 and pids(running))
    assert not {idle, busy} & set(pids(running))
    until(lambda: not alive(idle) and not alive(busy))


def test_a_decoder_that_hangs_is_ended_and_replaced(running, films, monkeypatch):
    monkeypatch.setattr(running.service.decoders, "seconds", 1.0)
    (hung,) = until(lambda: pids(running))
    os.kill(hung, signal.SIGSTOP)
    refused(running.post(films[0]), 504, "timeout", "1 s")
    until(lambda: pids(running) and pids(running) != [hung])
    monkeypatch.undo()
    assert running.post(films[0]).status_code == 200
    assert not alive(hung)
    until(running.empty)


def test_a_full_queue_says_when_to_come_back(running, films, monkeypatch):
    monkeypatch.setattr(running.service, "settings", replace(running.service.settings, queue=2))
    plugs = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
    try:
        for plug in plugs:
            plug.sendall(request(1_000_000) + HEAD)
        until(lambda: running.service.inside == 2)
        answer = running.post(films[0])
        refused(answer, 429, "busy", "2 requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert running.client.get("/health").json() == {"status": "ready"}
    finally:
        for plug in plugs:
            plug.close()
    until(running.empty)
    assert running.post(films[0]).status_code == 200


def test_an_answer_that_takes_too_long_is_given_up(running, films, monkeypatch):
    go, run = threading.Event(), running.service.batcher.run

    def slowly(clips):
        go.wait(60)
        return run(clips)

    monkeypatch.setattr(running.service.batcher, "run", slowly)
    settings = replace(running.service.settings, timeout=0.5)
    monkeypatch.setattr(running.service, "settings", settings)
    try:
        refused(running.post(films[3]), 504, "timeout", "0.5 s")
        until(running.empty)
    finally:
        go.set()
    monkeypatch.undo()
    assert running.post(films[0]).status_code == 200


def test_a_bug_is_not_told_to_clients_and_does_not_end_the_service(running, films, monkeypatch):
    def wrong(clips):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(running.service.batcher, "run", wrong)
    message = refused(running.post(films[0]), 500, "internal")
    assert "secret" not in message
    monkeypatch.undo()
    assert running.post(films[0]).status_code == 200


def test_what_a_killed_service_left_is_removed_by_the_next_one(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    left = tmp_path / f"p3d-serve-{gone.stdout.strip()}-abc"
    ours = tmp_path / f"p3d-serve-{os.getpid()}-abc"
    other = tmp_path / "p3d-serve-notes-abc"
    for path in (left, ours, other):
        path.mkdir()
        (path / "upload").write_bytes(b"x")
    sweep()
    assert not left.exists()
    assert ours.exists()
    assert other.exists()


def test_memory_stays_where_it_was_over_many_answers(running, films):
    for _ in range(8):
        running.post(films[3])
    before = resident()
    for _ in range(12):
        running.post(films[3])
    assert resident() - before < 30 * 2**20


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "example.org"])
def test_other_machines_are_let_in_with_a_token_only(weights, host):
    with pytest.raises(ValueError, match="lets other machines in"):
        Settings(weights=weights, host=host)
    assert Settings(weights=weights, host=host, token="long-enough").loopback is False
    assert Settings(weights=weights, host=host, insecure=True).token is None


def test_a_folder_of_uploads_that_was_tidied_away_is_made_anew(running, films):
    before = running.service.folder.path
    shutil.rmtree(before)
    for _ in range(2):
        answer = running.post(films[0])
        assert answer.status_code == 200, answer.text
    until(running.empty)
    assert stat.S_IMODE(running.service.folder.path.stat().st_mode) == 0o700


def test_what_stands_in_the_place_of_a_tidied_folder_is_not_used():
    folder = Folder()
    try:
        first = folder.fresh().parent
        shutil.rmtree(first)
        again = folder.fresh()
        assert again.parent != first
        assert stat.S_IMODE(again.parent.stat().st_mode) == 0o700
    finally:
        folder.remove()
