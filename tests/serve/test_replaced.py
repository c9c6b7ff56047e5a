"""The weights file is replaced under a service that runs: no answer is of another network."""

import json
import shutil
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.data.scans.preprocess import ScanPreprocessing
from pseudo3d.models import create_model
from pseudo3d.serve.model import Model
from pseudo3d.serve.original import Original
from pseudo3d.serve.problems import Problem
from pseudo3d.serve.settings import Settings
from pseudo3d.weights import save
from serve.serving import refused, serving

connect = pytest.importorskip("websockets.sync.client", reason="websockets is absent").connect
CHANGED = "the weights file was changed; restart the service"


def for_videos(path, seed, classes):
    torch.manual_seed(seed)
    net = create_model("p3d_nano", widths=(4, 4, 8, 8), stem_width=4, num_classes=2).eval()
    pre = Preprocessing(frames=6, resize=30, size=(24, 24), mean=(0.4,) * 3, std=(0.3,) * 3)
    save(net, path, classes=classes, preprocessing=pre, training={"clip_seconds": 1.5})
    return path


def for_scans(path, seed, classes):
    torch.manual_seed(seed)
    net = create_model("p3d_volume", widths=(4, 4, 8), stem_width=4, num_classes=2).eval()
    pre = ScanPreprocessing(size=(12, 16, 16), mean=(100.0,), std=(50.0,))
    save(net, path, classes=classes, preprocessing=pre, training={"task": "classify"})
    return path


def test_nothing_about_videos_is_said_by_another_network(tmp_path, films):
    weights = for_videos(tmp_path / "net.safetensors", 1, ("up", "down"))
    picture = BytesIO()
    Image.fromarray(np.zeros((36, 44, 3), np.uint8)).save(picture, "JPEG")
    with serving(Settings(weights=weights, port=0, decoders=1)) as running:
        before = running.post(films[0]).json()
        for_videos(weights, 2, ("cat", "dog"))
        assert running.post(films[0]).json()["top"] == before["top"]  # it is loaded
        refused(running.post(films[0], explain=True), 503, "not_ready", CHANGED)
        refused(running.post(films[0], "/features"), 503, "not_ready", CHANGED)
        with connect(f"ws://127.0.0.1:{running.port}/stream") as plug:
            plug.send('{"top": 2}')
            plug.send(picture.getvalue())
            error = json.loads(plug.recv(timeout=60))["error"]
        assert error == {"code": "not_ready", "message": CHANGED}


def test_decoders_that_come_later_look_at_scans_with_the_same_network_or_not_at_all(tmp_path):
    weights = for_scans(tmp_path / "net.safetensors", 1, ("well", "ill"))
    scan = tmp_path / "one.npz"
    image = np.random.default_rng(0).integers(0, 200, (12, 16, 16)).astype(np.uint8)
    np.savez(scan, image=image)
    with serving(Settings(weights=weights, port=0, decoders=1)) as running:
        kept = shutil.copy(weights, tmp_path / "kept.safetensors")
        for_scans(weights, 2, ("ill", "well"))
        refused(running.post(scan), 503, "not_ready", CHANGED)
        weights.unlink()
        message = refused(running.post(scan), 503, "not_ready", CHANGED)
        assert str(tmp_path) not in message
        shutil.copy(kept, weights)  # the same bytes are the same network
        answer = running.post(scan)
        assert answer.status_code == 200, answer.text


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path):
    weights = for_videos(tmp_path / "net.safetensors", 1, ("up", "down"))
    original = Original.of(weights)
    assert original.read(lambda: "network") == "network"
    with pytest.raises(Problem, match=CHANGED):
        original.read(lambda: for_videos(weights, 2, ("cat", "dog")))
    with pytest.raises(Problem, match=CHANGED):  # rather than what is wrong with half a copy
        original.read(lambda: 1 / 0)


def test_a_service_does_not_start_with_a_file_that_is_being_copied(tmp_path, monkeypatch):
    weights = for_videos(tmp_path / "net.safetensors", 1, ("up", "down"))
    model, go = Model(Settings(weights=weights)), Model._open

    def slowly(self):
        go(self)
        for_videos(weights, 2, ("cat", "dog"))

    monkeypatch.setattr(Model, "_open", slowly)
    model.load()
    assert model.status == "failed"
    assert model.error == CHANGED
