"""Converted networks in files, and the networks users name: code comes from the user alone."""

import json
import sys

import pytest
import torch
import typer
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.testing import assert_close
from torch.utils._pytree import tree_leaves
from typer.testing import CliRunner

from pseudo3d.cli import convert as command
from pseudo3d.errors import Pseudo3dError, WeightsError
from pseudo3d.recycle.convert import convert
from pseudo3d.recycle.convert.factory import load_2d, make_network
from pseudo3d.recycle.convert.file import (
    CONVERTED_KEY,
    load_converted,
    read_header,
    save_converted,
)
from recycle.nets2d import ConvNeXt, UNet, VisionTransformer, draw, resnet_basic, resnet_bottleneck

NETS = '''
"""A user's file with a neighbor."""
import torch
from torch import nn
from my_neighbor import WIDTH

def small(classes=4):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 3, 2, 1), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, classes),
    )

made = small()
number = 3

def nothing():
    return None
'''


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A user's file of networks."""
    (tmp_path / "my_neighbor.py").write_text("WIDTH = 6\n")
    (tmp_path / "my_nets.py").write_text(NETS)
    for name in ("my_nets", "my_neighbor"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield tmp_path / "my_nets.py"
    for name in ("my_nets", "my_neighbor"):
        sys.modules.pop(name, None)


def clip(frames=5):
    torch.manual_seed(4)
    return torch.randn(2, 3, frames, 64, 64)


def trained(make, **options):
    net = convert(draw(make), **options)
    torch.manual_seed(6)
    for part in net.partners().values():
        for p in part.parameters():
            p.data += 0.1 * torch.randn_like(p)
    return net.eval()


CASES = [
    (resnet_basic, {}),
    (resnet_basic, {"mix": "BCA", "padding": "replicate", "depth_stride": (1, 2), "channels": 3}),
    (resnet_bottleneck, {"method": "i3d", "kernel": 5}),
    (resnet_bottleneck, {"method": "acs", "head": "frames"}),
    (resnet_basic, {"method": "2.5d", "depth_stride": 2}),
    (ConvNeXt, {"method": "center"}),
    (VisionTransformer, {}),
    (UNet, {"where": ["b.*", "up1"]}),
]


@pytest.mark.parametrize(("make", "options"), CASES)
@torch.no_grad()
def test_a_file_gives_the_network_back_on_the_2d_one_with_any_weights(make, options, tmp_path):
    net, path = trained(make, **options), tmp_path / "net.safetensors"
    save_converted(net, path)
    again = load_converted(path, draw(make, seed=9))
    assert not again.training
    assert again.report.plan == net.report.plan
    assert again.report.layers == net.report.layers
    wanted, got = tree_leaves(net(clip())), tree_leaves(again(clip()))
    for a, b in zip(wanted, got, strict=True):
        assert_close(a, b)
    save_converted(again, path)  # and once more
    assert_close(tree_leaves(load_converted(path, draw(make))(clip())), wanted)


def test_other_channels_come_back(tmp_path):
    net, path = trained(resnet_basic, channels=2), tmp_path / "net.safetensors"
    save_converted(net, path)
    again = load_converted(path, draw(resnet_basic))
    assert again.net.conv1.in_channels == 2
    assert_close(again(clip()[:, :2]), net(clip()[:, :2]))


def test_the_file_holds_names_and_numbers_only(tmp_path):
    path = tmp_path / "net.safetensors"
    header = save_converted(trained(resnet_basic), path, factory="nets.py:resnet")
    with safe_open(path, framework="pt") as file:
        assert sorted(file.metadata()) == [CONVERTED_KEY, "sha256"]
        assert json.loads(file.metadata()[CONVERTED_KEY]) == json.loads(json.dumps(header))
    assert read_header(path)["factory"] == "nets.py:resnet"
    assert "net.layers.0.conv1.time.conv.weight" in load_file(path)


def test_another_2d_network_is_refused_by_its_entries_or_by_what_it_computes(tmp_path):
    path = tmp_path / "net.safetensors"
    save_converted(trained(resnet_basic), path, factory="nets.py:resnet")
    with pytest.raises(WeightsError, match=r"no layer 'layers.0.conv1'.* ResNet from nets"):
        load_converted(path, draw(resnet_bottleneck))
    wide = draw(resnet_basic)
    wide.fc = nn.Linear(16, 6)
    with pytest.raises(WeightsError, match=r"2 reshaped: net\.fc\.weight, net\.fc\.bias"):
        load_converted(path, wide)
    other = draw(resnet_basic)
    other.relu = nn.SiLU()
    with pytest.raises(WeightsError, match="self-test failed"):
        load_converted(path, other)


def test_altered_weights_and_other_files_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    save_converted(trained(resnet_basic), path)
    state, text = load_file(path), json.dumps(read_header(path))
    state["net.fc.weight"] += 0.1
    save_file(state, path, {CONVERTED_KEY: text})
    with pytest.raises(WeightsError, match="self-test failed"):
        load_converted(path, draw(resnet_basic))
    del state["net.fc.weight"]
    save_file(state, path, {CONVERTED_KEY: text})
    with pytest.raises(WeightsError, match=r"1 missing: net.fc.weight.*Nothing was loaded"):
        load_converted(path, draw(resnet_basic))
    save_file(state, path)
    with pytest.raises(WeightsError, match="not the file of a converted network"):
        load_converted(path, draw(resnet_basic))
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="damaged or no safetensors file"):
        read_header(path)
    with pytest.raises(WeightsError, match="does not exist"):
        read_header(tmp_path / "none.safetensors")


def test_only_finished_converted_networks_are_saved(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(WeightsError, match="a ResNet; wanted a network made by convert"):
        save_converted(draw(resnet_basic), path)
    net = trained(resnet_basic)
    net.net.fc.weight.data.fill_(torch.nan)
    with pytest.raises(WeightsError, match="training diverged"):
        save_converted(net, path)
    assert not path.exists()


def test_a_network_is_named_by_file_or_module(nets, monkeypatch):
    assert isinstance(make_network(f"{nets}:small"), nn.Module)
    assert make_network(f"{nets}:small", {"classes": 7})[-1].out_features == 7
    assert not make_network(f"{nets}:made").training
    path = list(sys.path)
    monkeypatch.chdir(nets.parent)
    assert isinstance(make_network("my_nets:small"), nn.Module)
    assert sys.path == path


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("my_nets.py", "wanted FILE.py:NAME or MODULE:NAME"),
        ("none.py:small", r"none.py: does not exist"),
        ("none_at_all:small", "none_at_all: no such module"),
        ("my_nets.py:smal", "unknown name: 'smal'. Did you mean small"),
        ("my_nets.py:number", "is a int; wanted a function or a network"),
        ("my_nets.py:nothing", "gives a NoneType; wanted a torch.nn.Module"),
    ],
)
def test_what_names_no_network_is_refused(nets, monkeypatch, spec, message):
    monkeypatch.chdir(nets.parent)
    with pytest.raises(Pseudo3dError, match=message):
        make_network(spec)


def test_a_finished_network_takes_no_options(nets):
    with pytest.raises(Pseudo3dError, match="takes no options"):
        make_network(f"{nets}:made", {"classes": 3})


def test_a_users_own_missing_import_is_his_error(nets):
    (nets.parent / "my_neighbor.py").unlink()
    with pytest.raises(ModuleNotFoundError, match="my_neighbor"):
        make_network(f"{nets}:small")


def test_2d_weights_fit_by_every_name_and_shape(tmp_path):
    net, path = draw(resnet_basic), tmp_path / "w.safetensors"
    old = {k: v for k, v in draw(resnet_basic, 3).state_dict().items() if "num_batches" not in k}
    save_file(old, path)
    assert load_2d(net, path) == len(old)
    assert_close(net.fc.weight, old["fc.weight"])
    save_file({**old, "fc.weight": torch.zeros(6, 16), "extra": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match=r"1 extra: extra; 1 of another shape: fc\.weight \(6"):
        load_2d(net, path)
    del old["conv1.weight"]
    save_file(old, path)
    with pytest.raises(WeightsError, match=r"1 missing: conv1\.weight"):
        load_2d(net, path)


@pytest.fixture
def p3d_convert():
    """The command, in this process."""
    app = typer.Typer()
    command.add_to(app)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_converts_proves_and_writes(nets, tmp_path, p3d_convert):
    weights, out = tmp_path / "w.safetensors", tmp_path / "out.safetensors"
    net2d = make_network(f"{nets}:small")
    net2d[0].weight.data += 1
    save_file(net2d.state_dict(), weights)
    line = (f"{nets}:small", "--weights", weights, "--out", out, "--mix", "B", "--layers")
    done = p3d_convert(*line)
    assert done.exit_code == 0, done.output
    assert "equals the 2-D network on clips of 1, 2, 5, 16 frames" in done.stdout
    assert "3\tB: 3x1x1, 6 to 6" in done.stdout
    assert f"file\t{out}" in done.stdout
    assert "11 entries" in done.stderr
    net = load_converted(out, make_network(f"{nets}:small"))
    assert_close(net.net[0].weight, net2d[0].weight)
    again = p3d_convert(f"{nets}:small", "--load", out, "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["layers"] == {"3": "B: 3x1x1, 6 to 6"}


def test_the_command_takes_every_wish(nets, p3d_convert):
    done = p3d_convert(
        f"{nets}:small", "--set", "classes=3", "--where", "3", "--depth-stride", "1",
        "--padding", "replicate", "--channels", 1, "--kernel", 5, "--head", "frames",
        "--size", 40, 48, "--json", "--threads", 1,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    options = found["plan"]["options"]
    assert (options["padding"], options["kernel"], options["channels"]) == ("replicate", 5, 1)
    assert options["head"] == "frames"
    assert found["image_size"] == [40, 48]
    assert found["proof"]["exact"] is True
    assert found["file"] is None
    assert p3d_convert(f"{nets}:small", "--depth-stride", "two").exit_code == 2


def test_neither_autocast_nor_the_default_type_makes_a_file_or_spoils_one(tmp_path):
    net, path = trained(resnet_basic), tmp_path / "net.safetensors"
    with torch.autocast("cpu", torch.bfloat16):
        save_converted(net, path)
        load_converted(path, draw(resnet_basic))
    torch.set_default_dtype(torch.float64)
    try:
        load_converted(path, draw(resnet_basic))
        save_converted(net, path)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_close(load_converted(path, draw(resnet_basic))(clip()), net(clip()))
