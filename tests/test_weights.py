"""Checkpoints come back as they were written, and nothing else is taken for one."""

import errno
import json
import logging
import os
import pickle
import zipfile
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.testing import assert_close

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.models import create_model, registry
from pseudo3d.recycle.foreign.names_p3d import caffe_preprocessing
from pseudo3d.weights import load, load_backbone, read_state, save
from recycle import foreign_nets as nets

GRAY = Preprocessing(resize=32, size=(32, 32), color="gray", mean=(0.4,), std=(0.2,))
CLASSES = ("clap", "jump", "wave")
SMALL = {"depths": (1, 1, 1, 1), "widths": (4, 4, 4, 4), "stem_width": 4}


@pytest.fixture(autouse=True)
def _heard(caplog, monkeypatch):
    """Warnings are heard whatever other libraries have switched off in this process."""
    monkeypatch.setattr(logging.root.manager, "disable", 0)
    monkeypatch.setattr(logging.getLogger("pseudo3d.weights"), "disabled", False)
    caplog.set_level(logging.WARNING, logger="pseudo3d.weights")


def tiny(name="p3d18", **options):
    torch.manual_seed(0)
    return create_model(name, **{**SMALL, "in_channels": 1, "num_classes": 3, **options})


@pytest.fixture
def saved(tmp_path):
    net = tiny()
    path = tmp_path / "net.safetensors"
    save(
        net,
        path,
        classes=CLASSES,
        preprocessing=GRAY,
        training={"epochs": 3},
        scores={"val_top1": 0.5},
    )
    return net, path


def clip(net, t=4):
    return torch.rand(2, net.cfg.in_channels, t, 32, 32)


def rewrite(path, change, tensors=None):
    """Alter the metadata of a file of ours."""
    with safe_open(path, "pt") as file:
        card = json.loads(file.metadata()["pseudo3d"])
    state = read_state(path) if tensors is None else tensors
    change(card)
    save_file(state, path, {"pseudo3d": json.dumps(card)})


# What is written comes back


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("p3d18", {"mixes": ("B",), "kernel": (5, 3, 3), "dropout": 0.1}),
        ("p3d50", {"semantics": "release"}),
        ("p3d50", {"semantics": "port", "time_stages": (True,) * 4}),
        ("resnet18", {}),
    ],
)
def test_a_network_comes_back_with_its_config_and_outputs(tmp_path, name, options):
    net = tiny(name, **options).eval()
    save(net, tmp_path / "a" / "net.safetensors")
    back = load(tmp_path / "a" / "net.safetensors")
    assert (back.name, back.cfg, back.training) == (name, net.cfg, False)
    x = clip(net)
    with torch.inference_mode():
        assert torch.equal(back(x), net(x))


def test_the_card_comes_back(saved):
    _, path = saved
    card = load(path).card
    assert (card.classes, card.preprocessing, card.task) == (CLASSES, GRAY, "classify")
    assert (card.training, card.scores) == ({"epochs": 3}, {"val_top1": 0.5})
    assert card.version
    assert card.self_test["shape"][1] == 1
    assert len(card.self_test["logits"]) == 3


def test_saving_leaves_the_network_alone(saved):
    net, path = saved
    assert net.training
    net.half()
    save(net, path)
    assert next(net.parameters()).dtype == torch.float16
    assert_close(load(path).head.weight, net.head.weight.float())


def test_loading_leaves_the_callers_random_numbers_alone(saved):
    _, path = saved
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    load(path)
    assert torch.equal(torch.rand(3), wanted)


# What is refused when saving


def test_who_reads_the_old_file_goes_on_reading_it(saved):
    """The new file takes the old one's name; it is not written into it."""
    net, path = saved
    before = path.read_bytes()
    with path.open("rb") as reader:
        save(net, path, classes=("a", "b", "c"))
        assert reader.read() == before
    assert load(path).card.classes == ("a", "b", "c")


def test_full_disk_keeps_the_old_file(saved, monkeypatch):
    net, path = saved
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WeightsError, match=r"No space left.*unchanged.*Free some space"):
        save(net, path, classes=("a", "b", "c"))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ({"classes": ("a", "b")}, "2 class names for a network with 3"),
        (
            {"preprocessing": replace(GRAY, difference=True)},
            "gives 2 channels, the network takes 1",
        ),
        ({"scores": {"top1": float("nan")}}, "no JSON"),
        ({"training": {"net": torch}}, "no JSON"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path, extra, told):
    with pytest.raises(WeightsError, match=told):
        save(tiny(), tmp_path / "x.safetensors", **extra)
    assert not list(tmp_path.iterdir())


def test_a_diverged_network_is_not_written(saved):
    net, path = saved
    before = path.read_bytes()
    torch.nn.init.constant_(net.head.weight, float("nan"))
    with pytest.raises(WeightsError, match="its training diverged"):
        save(net, path)
    assert path.read_bytes() == before


def test_a_network_without_numbers_is_not_written(tmp_path):
    with pytest.raises(WeightsError, match=r"on the device 'meta'.*load them first"):
        save(create_model("p3d_nano", num_classes=2).to("meta"), tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_network_changed_by_hand_is_not_written(tmp_path):
    """Nobody could open it again."""
    for change in (
        lambda net: setattr(net, "head", torch.nn.Linear(net.head.in_features, 5)),
        lambda net: setattr(net, "aux", torch.nn.Linear(2, 2)),
    ):
        net = tiny()
        change(net)
        with pytest.raises(WeightsError, match=r"changed by hand.*(1|2) (reshaped|extra).*num_cla"):
            save(net, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_what_a_card_says_survives_saving_again(saved):
    _, path = saved
    save(load(path), path)
    card = load(path).card
    assert (card.classes, card.preprocessing) == (CLASSES, GRAY)
    assert (card.training, card.scores) == ({"epochs": 3}, {"val_top1": 0.5})
    other = load(path)
    with torch.no_grad():
        other.head.weight.mul_(1.5)
    save(other, path, classes=("x", "y", "z"))
    card = load(path).card
    assert card.classes == ("x", "y", "z")
    assert card.scores == {}  # those were of other weights


def test_the_default_type_has_no_say_in_loading(saved):
    net, path = saved
    torch.set_default_dtype(torch.bfloat16)
    try:
        back = load(path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_close(back.state_dict(), net.state_dict(), rtol=0, atol=0)


def test_only_networks_of_ours_are_written(tmp_path):
    with pytest.raises(WeightsError, match="a Linear cannot be saved"):
        save(torch.nn.Linear(2, 2), tmp_path / "x.safetensors")


# What is refused when loading


def test_another_number_of_classes_is_refused_with_the_way_out(saved):
    _, path = saved
    assert load(path, num_classes=3).cfg.num_classes == 3
    with pytest.raises(WeightsError, match=r"has 3 classes, asked for 7.*p3d train DATA --weights"):
        load(path, num_classes=7)


def test_other_semantics_than_trained_with_are_refused(saved):
    _, path = saved
    assert load(path, semantics="modern").cfg.semantics == "modern"
    with pytest.raises(WeightsError, match="semantics='modern', asked for 'port'"):
        load(path, semantics="port")


def test_altered_weights_fail_the_self_test(saved):
    _, path = saved
    state = read_state(path)
    state["stages.2.0.pair.space.weight"] *= 1.05
    rewrite(path, lambda card: None, state)
    with pytest.raises(WeightsError, match="self-test failed"):
        load(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("head.bias"), "1 missing: head.bias"),
        (lambda s: s.update(more=torch.zeros(1)), "1 extra: more"),
        (
            lambda s: s.update({"head.bias": torch.zeros(4)}),
            r"1 reshaped: head.bias \(4,\) instead of \(3,\)",
        ),
    ],
)
def test_names_and_shapes_are_compared_strictly(saved, change, told):
    _, path = saved
    state = read_state(path)
    change(state)
    rewrite(path, lambda card: None, state)
    with pytest.raises(WeightsError, match=told):
        load(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.update(name="p3d19"), "unknown model: 'p3d19'. Did you mean p3d18"),
        (lambda c: c["config"].update(extent=3), "unknown option of p3d18: 'extent'"),
        (lambda c: c["config"].update(block="triple"), "block is 'triple'"),
        (lambda c: c.update(format=2), "newer pseudo3d"),
        (lambda c: c.pop("format"), "metadata cannot be used"),
        (lambda c: c["preprocessing"].update(size=[99, 99]), "larger than resize"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(saved, change, told):
    _, path = saved
    rewrite(path, change)
    with pytest.raises(WeightsError, match=told) as err:
        load(path)
    assert path.name in str(err.value)


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
@pytest.mark.parametrize("keep", [0, 5, 100, 0.5, 0.99])
def test_truncated_files_are_named(saved, tmp_path, kind, keep):
    net, path = saved
    if kind == "pth":
        path = tmp_path / "net.pth"
        torch.save(net.state_dict(), path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(WeightsError, match="damaged, incomplete or not a checkpoint") as err:
        load(path)
    assert str(path) in str(err.value)
    assert "Get the file" in str(err.value)
    assert "\n" not in str(err.value)


def junk(path):
    """Files that are no checkpoints, by name."""
    with zipfile.ZipFile(path / "zip.pth", "w") as file:
        file.writestr("a.txt", "hello")
    (path / "text.safetensors").write_text("label,path\n" * 20)
    (path / "noise.pth").write_bytes(bytes(range(256)) * 8)
    (path / "json.safetensors").write_text('        {"a": 1}')
    torch.save([1, 2], path / "list.pth")
    torch.save({"state_dict": {}}, path / "empty.pth")
    torch.save({"epoch": 3, "model": 4}, path / "other.pth")
    torch.save({"encoder.weight": torch.zeros(1)}, path / "foreign.pth")
    save_file({"encoder.weight": torch.zeros(1)}, path / "foreign.safetensors")


def test_files_that_are_no_checkpoints_are_refused(tmp_path):
    junk(tmp_path)
    for path in sorted(tmp_path.iterdir()):
        with pytest.raises(WeightsError) as err:
            load(path)
        assert str(path) in str(err.value)
        assert "\n" not in str(err.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(WeightsError, match="does not exist"):
        load(tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="is a folder"):
        load(tmp_path)


def test_unknown_names_list_what_is_known(tmp_path):
    junk(tmp_path)
    with pytest.raises(WeightsError, match=r"encoder.weight.*Known: .*conv1_custom.*torchvision"):
        load(tmp_path / "foreign.safetensors")


class Trap:
    """Leaves a mark when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize(
    ("protocol", "told"), [(None, "needs code"), (2, "needs code"), (4, "not a checkpoint")]
)
def test_code_in_a_file_is_never_run(tmp_path, protocol, told):
    mark, path = tmp_path / "mark", tmp_path / "trap.pth"
    content = {"state_dict": {"conv1.weight": Trap(mark)}}
    if protocol is None:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol))
    with pytest.raises(WeightsError, match=told):
        load(path)
    assert not mark.exists()


def test_bare_weights_of_ours_and_2d_networks_name_the_way_out(tmp_path):
    torch.save(tiny().state_dict(), tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match="without the metadata"):
        load(tmp_path / "bare.pth")
    names = ("conv1", "layer1.0.conv1", "layer2.0.conv1", "fc")
    torch.save({f"{k}.weight": torch.zeros(1, 1, 1, 1) for k in names}, tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match=r"basic blocks 1, 1, of other depths.*inflate"):
        load(tmp_path / "resnet.pth")


# Reading states


@pytest.mark.parametrize("legacy", [False, True])
def test_states_are_unwrapped_whatever_the_suffix(tmp_path, legacy):
    path = tmp_path / "p3d_rgb_199.checkpoint.pth.tar"
    content = {"epoch": 3, "state_dict": {"module.fc.bias": torch.ones(2), "w": torch.zeros(1)}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    state = read_state(path)
    assert set(state) == {"fc.bias", "w"}
    assert torch.equal(state["fc.bias"], torch.ones(2))


# Files of other projects (what they compute: recycle/test_names.py, golden/test_release.py)


def narrow(monkeypatch, name, **options):
    """Let a registered network be as narrow as the states of `foreign_nets`."""
    build, cfg = registry._MODELS[name]
    thin = replace(cfg, widths=nets.WIDTHS, stem_width=nets.STEM, **options)
    monkeypatch.setitem(registry._MODELS, name, (build, thin))


def test_published_files_are_compared_strictly(tmp_path):
    state = nets.port_state()
    del state["layer1.1.conv3.weight"]
    state["layer1.1.conv9.weight"] = torch.zeros(1)
    torch.save({"state_dict": dict(state)}, tmp_path / "f.pth")
    with pytest.raises(WeightsError, match=r"1 missing: stages.0.1.pair.time.weight; 1 extra: lay"):
        load(tmp_path / "f.pth")


@pytest.mark.parametrize(
    ("state", "semantics", "told"),
    [
        (nets.port_state((1, 1, 1, 1)), None, r"\(1, 1, 1, 1\) blocks per stage"),
        (nets.port_state(), "modern", "wanted 'release' or 'port'"),
        ({"conv1_custom.weight": torch.zeros(1)}, None, "without fc.weight, bn1.running_var"),
    ],
)
def test_published_files_that_cannot_be_built_are_refused(tmp_path, state, semantics, told):
    torch.save(dict(state), tmp_path / "f.pth")
    with pytest.raises(WeightsError, match=told):
        load(tmp_path / "f.pth", semantics=semantics)


def test_published_preprocessing_is_the_authors():
    rgb, flow = caffe_preprocessing(3), caffe_preprocessing(2)
    assert (rgb.color, rgb.scale, rgb.mean, rgb.std) == ("bgr", 1, (104, 117, 123), (1, 1, 1))
    assert (rgb.frames, rgb.sampling, rgb.step, rgb.resize) == (16, "dense", 1, 182)
    assert (rgb.size, flow.channels, flow.mean) == ((160, 160), 2, (128, 128))
    assert caffe_preprocessing(5) is None


def test_the_card_of_foreign_weights_says_what_became_of_each_entry(tmp_path, monkeypatch, caplog):
    narrow(monkeypatch, "p3d50")
    torch.save(dict(nets.port_state()), tmp_path / "f.pth")
    net = load(tmp_path / "f.pth")
    report = net.card.report
    assert sorted(report.loaded) == sorted(net.state_dict())
    assert (report.fresh, report.dropped) == ((), ())
    assert "in the layout of the PyTorch port" in str(report)
    assert "k x k to 1 x k x k" in str(report)
    assert "first batch norm saw inputs about" in net.card.notes[-1]  # of order 1, not bytes
    assert "first batch norm saw inputs about" in caplog.text


def test_the_report_is_no_part_of_the_file(saved):
    net, path = saved
    assert len(load(path).card.report.loaded) == len(net.state_dict())
    assert "report" not in load(path).card.to_json()
    assert load(path).card == replace(load(path).card, report=None)


def test_weights_without_a_classifier_want_its_size_and_say_that_it_is_fresh(
    tmp_path, monkeypatch, caplog
):
    narrow(monkeypatch, "r3d18")
    state = nets.hara_state()
    state["conv_seg.1.weight"] = torch.zeros(3)
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "m.pth")
    with pytest.raises(WeightsError, match="without a classifier"):
        load(tmp_path / "m.pth")
    net = load(tmp_path / "m.pth", num_classes=3)
    assert net.head.weight.shape[0] == 3
    report = net.card.report
    assert (report.fresh, report.dropped) == (("head.weight", "head.bias"), ("conv_seg.1.weight",))
    assert "left out: conv_seg.1.weight" in str(report)
    assert "the classifier is fresh" in caplog.text
    assert torch.equal(net.stem.conv.weight, state["conv1.weight"])


def test_a_fresh_classifier_is_never_copied_into_a_network_to_be_trained(tmp_path, monkeypatch):
    narrow(monkeypatch, "r3d18")
    torch.save(dict(nets.hara_state()), tmp_path / "m.pth")
    source = load(tmp_path / "m.pth", num_classes=3)
    net = create_model(source.name, **{**asdict(source.cfg), "dropout": 0.2})
    before = net.head.weight.clone()
    report = load_backbone(net, tmp_path / "m.pth")
    assert report.fresh == ("head.weight", "head.bias")
    assert torch.equal(net.head.weight, before)
    assert torch.equal(net.stem.conv.weight, source.stem.conv.weight)


def test_a_start_takes_the_semantics_of_the_network_it_is_for(tmp_path, monkeypatch):
    narrow(monkeypatch, "p3d50")
    torch.save(dict(nets.port_state()), tmp_path / "f.pth")
    net = create_model("p3d50", semantics="port", num_classes=7)
    assert load_backbone(net, tmp_path / "f.pth").fresh == ()


def test_a_file_of_the_catalog_brings_its_record(tmp_path, monkeypatch):
    narrow(monkeypatch, "r3d18")
    path = tmp_path / "r3d_18-b3b3357e.pth"
    torch.save(dict(nets.video_state(classes=400)), path)
    card = load(path).card
    assert card.classes is None
    assert card.preprocessing.size == (112, 112)
    assert card.training["record"] == "r3d18.kinetics400"
    assert card.scores["published"][0]["value"] == 0.632
    assert "5 clips" in card.scores["published"][0]["protocol"]


def test_a_foreign_network_saved_as_ours_comes_back(tmp_path, monkeypatch):
    narrow(monkeypatch, "mc3_18")
    torch.save(dict(nets.video_state("mc3")), tmp_path / "f.pth")
    net = load(tmp_path / "f.pth")
    save(net, tmp_path / "g.safetensors", preprocessing=net.card.preprocessing)
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load(tmp_path / "g.safetensors")(x), net(x))


# Starting from a checkpoint


def test_same_classes_take_the_head_too(saved):
    source, path = saved
    net = tiny()
    torch.nn.init.zeros_(net.head.weight)
    report = load_backbone(net, path, classes=CLASSES)
    assert report.fresh == ()
    assert torch.equal(net.head.weight, source.head.weight)


@pytest.mark.parametrize(
    ("options", "classes"), [({"num_classes": 5}, None), ({}, ("a", "b", "c"))]
)
def test_other_classes_leave_the_head_fresh(saved, options, classes):
    source, path = saved
    net = tiny(dropout=0.2, **options)
    for p in net.parameters():
        torch.nn.init.constant_(p, 0.125)
    report = load_backbone(net, path, classes=classes)
    assert report.fresh == ("head.weight", "head.bias")
    assert "fresh: head.weight, head.bias" in str(report)
    assert set(net.head.weight.flatten().tolist()) == {0.125}
    assert torch.equal(net.stem.conv.weight, source.stem.conv.weight)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (4, 4, 4, 8)}, r"widths \(4, 4, 4, 4\) there, \(4, 4, 4, 8\) here"),
        ({"mixes": ("A",)}, "mixes"),
        ({"in_channels": 3}, "in_channels 1 there, 3 here"),
        ({"name": "resnet18"}, "semantics 'modern' there, None here"),
    ],
)
def test_another_architecture_is_refused_by_the_fields_that_differ(saved, options, told):
    _, path = saved
    with pytest.raises(WeightsError, match=told):
        load_backbone(tiny(**options), path)


# What the caller has set for his own numbers has no say in the self-test


@contextmanager
def double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def low():
    return torch.autocast("cpu", torch.bfloat16)


@pytest.mark.parametrize("around", [low, double])
def test_a_good_file_is_loaded_whatever_numbers_the_caller_computes_in(saved, around):
    net, path = saved
    with around():
        back = load(path)
    assert_close(back.head.weight.float(), net.head.weight)


@pytest.mark.parametrize("around", [low, double])
def test_a_file_is_good_whatever_numbers_its_writer_computes_in(tmp_path, around):
    path = tmp_path / "net.safetensors"
    with around():
        save(tiny().eval(), path)
    net = load(path)
    assert net.head.weight.dtype == torch.float32
    save(net, tmp_path / "again.safetensors")
    assert load(tmp_path / "again.safetensors").card.self_test == net.card.self_test
