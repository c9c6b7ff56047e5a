"""The catalog says where weights are and what is claimed of them; the command looks at files."""

import hashlib
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
import typer
from typer.testing import CliRunner

from pseudo3d.cli import weights as command
from pseudo3d.errors import WeightsError
from pseudo3d.models import create_model, default_config, registry
from pseudo3d.recycle.published import catalog
from pseudo3d.recycle.published.catalog import all_records, of_file, record
from pseudo3d.recycle.published.download import digest_of
from pseudo3d.recycle.published.inspect import inspect
from pseudo3d.weights import load, save
from recycle import foreign_nets as nets

ALL = all_records()
IDS = [r.name for r in ALL]


def run(*args):
    """Exit code, stdout, stderr or the error's words."""
    app = typer.Typer()
    command.add_to(app)
    app.command()(lambda: None)  # a second command, so that `weights` keeps its name
    done = CliRunner().invoke(app, ["weights", *map(str, args)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 1, done.stdout, str(done.exception)
    return done.exit_code, done.stdout, done.stderr


# The records


def test_names_are_unique_and_files_tell_records_apart():
    assert len(set(IDS)) == len(IDS)
    files = [(r.file, r.network) for r in ALL if r.file]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize("known", ALL, ids=IDS)
def test_each_record_is_whole(known):
    assert re.fullmatch(r"https://\S+", known.address)
    assert known.license
    assert known.source
    assert not known.direct or known.file
    if known.sha256 is not None:
        assert re.fullmatch(r"[0-9a-f]{8}|[0-9a-f]{64}", known.sha256)
        assert known.sha256[:8] in known.file  # as the publisher has it
    if known.sha1 is not None:
        assert re.fullmatch(r"[0-9a-f]{40}", known.sha1)
        assert known.sha1[:8] in known.file
    assert all(0 < score.value < 1 and score.protocol and score.metric for score in known.scores)


@pytest.mark.parametrize("known", ALL, ids=IDS)
def test_each_record_names_a_network_of_ours_that_takes_its_input(known):
    default_config(known.network)
    if known.preprocessing is not None:
        channels = 2 if known.preprocessing.color == "flow" else 3
        assert known.preprocessing.channels == channels


@pytest.mark.parametrize(
    ("name", "metric", "value"),
    [
        ("r3d18.kinetics400", "video_hit@1", 0.632),
        ("mc3_18.kinetics400", "video_hit@1", 0.640),
        ("r2plus1d18.kinetics400", "video_hit@1", 0.675),
        ("resnet50.imagenet", "top1", 0.7613),
        ("p3d152.kinetics400", "video_hit@1", 0.721),
        ("p3d152.kinetics400_flow", "video_hit@1", 0.612),
        ("p3d152.sports1m", "clip_hit@1", 0.479),
        ("p3d101.kinetics400_gluon", "video_hit@1", 0.726),
    ],
)
def test_published_scores_are_the_published_ones(name, metric, value):
    assert value in [s.value for s in record(name).scores if s.metric == metric]


def test_what_nobody_states_is_not_made_up():
    for name in ("p3d152.kinetics400", "p3d152.kinetics600_port"):
        known = record(name)
        assert (known.sha256, known.sha1, known.file, known.direct) == (None, None, "", False)
        assert digest_of(known) is None
    assert record("p3d152.kinetics600_port").scores == ()


def test_the_2017_weights_take_bytes_in_caffes_order():
    pre = record("p3d152.sports1m").preprocessing
    assert (pre.color, pre.scale, pre.mean) == ("bgr", 1, (104, 117, 123))
    assert record("p3d152.kinetics400_flow").preprocessing.mean == (128, 128)


def test_unknown_names_are_answered_with_near_ones():
    with pytest.raises(
        WeightsError, match=r"unknown weights: 'r3d18.kinetics'. Did you mean r3d18"
    ):
        record("r3d18.kinetics")


def test_a_file_is_known_by_its_name_only_if_it_holds_that_network(tmp_path):
    path = tmp_path / "r3d_18-b3b3357e.pth"
    assert of_file(path, "r3d18", 400).name == "r3d18.kinetics400"
    assert of_file(path, "r3d18", 7) is None
    assert of_file(path, "r3d34", 400) is None
    assert of_file(tmp_path / "x.pth", "r3d18", 400) is None
    for suffix in ("params", "zip"):  # the file, and what the address gives
        path = tmp_path / f"p3d_resnet50_kinetics400-671ba81c.{suffix}"
        assert of_file(path, "p3d50", 400).name == "p3d50.kinetics400_gluon"


# list, show


def test_the_catalog_needs_no_torch():
    code = (
        "import sys; from pseudo3d.recycle.published.catalog import all_records; all_records(); "
        "import pseudo3d.cli.weights; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_list_shows_every_record():
    code, out, _ = run("list")
    rows = out.splitlines()
    assert code == 0
    assert [row.split("\t")[0] for row in rows[1:]] == IDS
    assert all(len(row.split("\t")) == 6 for row in rows)


def test_list_takes_a_pattern_and_gives_json():
    rows = json.loads(run("list", "p3d152*", "--json")[1])
    assert len(rows) == sum(name.startswith("p3d152") for name in IDS)
    assert rows[0]["scores"][0]["protocol"]
    code, _, told = run("list", "resnett*")
    assert code == 1
    assert "unknown weights: 'resnett*'" in told


@pytest.mark.parametrize("known", ALL, ids=IDS)
def test_show_says_what_is_known_and_what_is_not(known):
    code, out, _ = run("show", known.name)
    assert code == 0
    for text in (known.address, known.license, known.source):
        assert text in out
    assert ("digest\tnone stated" in out) is (known.sha256 is None and known.sha1 is None)
    assert ("first digits" in out) is (known.sha256 is not None and len(known.sha256) == 8)
    assert ("by hand" in out) is not known.direct
    assert json.loads(run("show", known.name, "--json")[1])["name"] == known.name


# get


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder on a local server, and a catalog whose first record is in it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = lambda *args: Quiet(*args, directory=folder)  # noqa: E731  # a class with a setting
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        (folder / "f.pth").write_bytes(b"weights")
        mine = replace(
            record("resnet18.imagenet"),
            name="mine",
            file="f.pth",
            address=f"{base}/f.pth",
            sha256=hashlib.sha256(b"weights").hexdigest(),
        )
        monkeypatch.setattr(catalog, "RECORDS", (mine, *ALL))
        yield folder
        server.shutdown()


def test_get_fetches_checks_and_prints_where_the_file_is(served, tmp_path):
    code, out, told = run("get", "mine", "--to", tmp_path / "to")
    assert (code, out.strip()) == (0, str(tmp_path / "to" / "f.pth"))
    assert (tmp_path / "to" / "f.pth").read_bytes() == b"weights"
    assert "sha256 agrees" in told
    assert "license" in told
    (served / "f.pth").unlink()  # the second time needs no server
    code, out, told = run("get", "mine", "--to", tmp_path / "to")
    assert code == 0
    assert "was there already" in told


def test_get_uses_the_cache_folder(served, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    out = run("get", "mine")[1].strip()
    assert out == str(tmp_path / "cache" / "pseudo3d" / "weights" / "f.pth")


def test_get_refuses_what_is_not_the_published_file(served, tmp_path):
    (served / "f.pth").write_bytes(b"altered")
    code, _, told = run("get", "mine", "--to", tmp_path)
    assert code == 1
    assert "sha256 of what came is" in told
    assert not (tmp_path / "f.pth").exists()


def test_get_names_the_page_where_no_program_can_fetch(tmp_path):
    code, _, told = run("get", "p3d152.sports1m", "--to", tmp_path)
    assert code == 1
    assert "open https://1drv.ms" in told
    assert "p3d weights check FILE" in told


# check


@pytest.fixture
def narrow(monkeypatch):
    """r3d18 as narrow as the states of `foreign_nets`."""
    build, cfg = registry._MODELS["r3d18"]
    thin = replace(cfg, widths=nets.WIDTHS, stem_width=nets.STEM)
    monkeypatch.setitem(registry._MODELS, "r3d18", (build, thin))


def write(path, state):
    torch.save({"state_dict": dict(state)}, path)
    return path


def test_check_says_what_a_foreign_file_is_and_what_of_it_is_loaded(narrow, tmp_path):
    path = write(tmp_path / "f.pth", nets.video_state(classes=400))
    code, out, _ = run("check", path)
    assert code == 0
    for text in (
        "kind\tvideo", "network\tr3d18", "classes\t400, without names", "fresh\tnothing",
        "left out\tnothing", "record\tnot in the catalog",
    ):  # fmt: skip
        assert text in out
    assert hashlib.sha256(path.read_bytes()).hexdigest() in out
    plain = json.loads(run("check", path, "--json")[1])
    assert plain["loaded"] == len(create_model("r3d18").state_dict())
    assert plain["input_scale_fits"] is True
    assert plain["preprocessing"]["fps"] == 15


def test_foreign_weights_are_saved_with_their_class_names(narrow, tmp_path):
    path = write(tmp_path / "f.pth", nets.video_state(classes=3))
    names, out = tmp_path / "names.txt", tmp_path / "ours.safetensors"
    names.write_text("walk\nrun and jump\nsit\n")
    code, said, _ = run("save", path, out, "--classes", names)
    assert (code, said.strip()) == (0, str(out))
    kept, first = load(out), load(path)
    assert kept.card.classes == ("walk", "run and jump", "sit")
    assert kept.card.preprocessing == first.card.preprocessing
    clip = torch.randn(1, 3, 4, 32, 32)
    assert torch.equal(kept(clip), first(clip))
    names.write_text("walk\n")
    code, _, told = run("save", path, tmp_path / "o.safetensors", "--classes", names)
    assert code == 1
    assert "1 class names for a network with 3 classes" in told


def test_check_of_weights_without_a_classifier_says_so(narrow, tmp_path):
    state = nets.hara_state()
    state["conv_seg.0.weight"] = torch.zeros(1)
    code, out, _ = run("check", write(tmp_path / "m.pth", state))
    assert code == 0
    assert "fresh\thead.weight, head.bias" in out
    assert "left out\tconv_seg.0.weight" in out
    assert "scale\tnot compared: no preprocessing is known" in out
    assert "taken from medicalnet" in out
    out = run("check", tmp_path / "m.pth", "--semantics", "monai")[1]
    assert "taken from" not in out


def test_check_fails_where_the_input_scale_does_not_fit(narrow, tmp_path):
    state = nets.video_state()
    state["stem.1.running_var"] *= 58**2
    code, out, _ = run("check", write(tmp_path / "f.pth", state))
    assert code == 1
    assert re.search(r"scale\tthe first batch norm saw inputs about \d\d times larger", out)


def test_check_knows_a_published_file_by_its_digest_or_says_that_it_is_altered(
    narrow, tmp_path, monkeypatch
):
    path = write(tmp_path / "anything.pth", nets.video_state(classes=400))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    known = replace(record("r3d18.kinetics400"), name="mine", sha256=digest, file="mine.pth")
    monkeypatch.setattr(catalog, "RECORDS", (known, *ALL))
    assert "record\tmine\n" in run("check", path)[1]
    code, out, _ = run("check", path.rename(tmp_path / "r3d_18-b3b3357e.pth"))
    assert (code, "record\tmine\n" in out) == (0, True)
    monkeypatch.setattr(catalog, "RECORDS", ALL)
    code, out, _ = run("check", tmp_path / "r3d_18-b3b3357e.pth")
    assert code == 1
    assert "record\tr3d18.kinetics400, but its digest differs: damaged or altered" in out


def test_check_takes_our_own_files(tmp_path):
    torch.manual_seed(0)
    net = create_model("p3d_nano", num_classes=3)
    save(net, tmp_path / "n.safetensors")
    found = inspect(tmp_path / "n.safetensors")
    assert (found.kind, found.record, found.damaged) == ("ours", None, False)
    assert found.network.cfg == net.cfg
    code, out, _ = run("check", tmp_path / "n.safetensors")
    assert code == 0
    assert "kind\tours" in out


def test_check_of_what_is_no_checkpoint_fails_in_words(tmp_path):
    (tmp_path / "x.pth").write_text("hello")
    code, _, told = run("check", tmp_path / "x.pth")
    assert code == 1
    assert "not a checkpoint" in told
