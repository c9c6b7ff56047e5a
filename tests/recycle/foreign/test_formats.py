"""Files of every kind are read by their content; what the stem saw is compared with the input."""

import re
import struct
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import WeightsError
from pseudo3d.models import create_model
from pseudo3d.recycle.files import read_state
from pseudo3d.recycle.foreign.caffe import read_caffemodel
from pseudo3d.recycle.foreign.formats import FORMATS, as_in, recognize, understand
from pseudo3d.recycle.foreign.kinds import Choices
from pseudo3d.recycle.foreign.mxnet import read_params
from pseudo3d.recycle.scale import first_norm, input_scale
from recycle import foreign_nets as nets

BLOBS = {
    "conv1.0": torch.randn(4, 3, 1, 7, 7),
    "bn_conv1.3": torch.rand(1, 4),
    "fc.1": torch.rand(5),
}

# Caffe: written by Google's library from the schema, read by ours


def schema():
    """The messages of caffe.proto that carry weights."""
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    kinds = {"str": 9, "f32": 2, "f64": 1, "i64": 3, "i32": 5}

    def message(name, *fields):
        found = file.message_type.add(name=name)
        for field, number, kind, label, packed in fields:
            made = found.field.add(name=field, number=number, label=label)
            if kind in kinds:
                made.type = kinds[kind]
            else:
                made.type, made.type_name = 11, f".caffe.{kind}"
            if packed:
                made.options.packed = True

    message("BlobShape", ("dim", 1, "i64", 3, True))
    message(
        "BlobProto",
        *((name, i, "i32", 1, False) for i, name in enumerate("ncwh", 1)),
        ("data", 5, "f32", 3, True),
        ("shape", 7, "BlobShape", 1, False),
        ("double_data", 8, "f64", 3, True),
    )
    message(
        "LayerParameter",
        ("name", 1, "str", 1, False),
        ("type", 2, "str", 1, False),
        ("blobs", 7, "BlobProto", 3, False),
        ("lr", 40, "f32", 1, False),
    )
    message(
        "NetParameter", ("name", 1, "str", 1, False), ("layer", 100, "LayerParameter", 3, False)
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))


def caffemodel(state, double=False, legacy=False):
    net = schema()(name="P3D")
    layers = {}
    net.layer.add(name="data", type="Input")
    for key, value in state.items():
        name, _, index = key.rpartition(".")
        layer = layers.setdefault(name, None) or net.layer.add(name=name, type="X", lr=0.5)
        layers[name] = layer
        while len(layer.blobs) <= int(index):
            layer.blobs.add().shape.dim.append(0)
        blob = layer.blobs[int(index)]
        if legacy:
            blob.ClearField("shape")
            sizes = [1] * (4 - value.ndim) + list(value.shape)
            for field, size in zip("ncwh", sizes, strict=True):
                setattr(blob, field, size)
        else:
            del blob.shape.dim[:]
            blob.shape.dim.extend(value.shape)
        (blob.double_data if double else blob.data).extend(value.flatten().tolist())
    return net.SerializeToString()


@pytest.mark.parametrize("double", [False, True])
def test_caffemodels_are_read_without_caffe(tmp_path, double):
    (tmp_path / "a.caffemodel").write_bytes(caffemodel(BLOBS, double))
    state = read_state(tmp_path / "a.caffemodel")
    assert all(torch.equal(state[key], value) for key, value in BLOBS.items())
    assert all(v.dtype == torch.float32 for v in state.values())


def test_blobs_of_old_caffemodels_have_four_axes():
    found = read_caffemodel(caffemodel({"fc.0": torch.rand(5, 2)}, legacy=True))
    assert found["fc.0"].shape == (1, 1, 5, 2)


def test_a_whole_caffemodel_becomes_a_network(tmp_path):
    state = nets.port_state()
    (tmp_path / "p3d.caffemodel").write_bytes(caffemodel(nets.caffe_names(state)))
    read = read_state(tmp_path / "p3d.caffemodel")
    assert recognize(read, "f") == "caffe"
    found, same = (understand(s, Choices(source="f")) for s in (read, state))
    assert all(torch.equal(v, same.state[k]) for k, v in found.state.items())


@settings(deadline=None, max_examples=80)
@given(cut=st.floats(0, 1), flip=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damaged_caffemodels_are_refused_or_read_but_never_crash(cut, flip, byte):
    data = bytearray(caffemodel({"a.0": torch.zeros(2, 3), "a.1": torch.ones(2)}))
    data[flip % len(data)] = byte
    with suppress(ValueError):  # which read_file puts into words
        read_caffemodel(bytes(data[: 1 + int(cut * len(data))]))


def test_a_caffemodel_cut_behind_its_last_number_is_refused_too():
    with pytest.raises(ValueError, match="broken off within a field"):
        read_caffemodel(caffemodel({"a.0": torch.ones(2)})[:-2])


# MXNet and numpy


def params(state, version=0xF993FAC9, kind=0, prefix=""):
    """As MXNet's own code lays arrays out."""
    out = struct.pack("<QQQ", 0x112, 0, len(state))
    for value in state.values():
        if version is None:
            out += struct.pack(f"<I{value.ndim}I", value.ndim, *value.shape)
        else:
            storage = struct.pack("<i", 0) if version != 0xF993FAC8 else b""
            out += struct.pack("<I", version) + storage
            out += struct.pack(f"<I{value.ndim}q", value.ndim, *value.shape)
        out += struct.pack("<iii", 1, 0, kind)
        out += value.numpy().astype({0: "<f4", 2: "<f2", 6: "<i8"}[kind]).tobytes()
    out += struct.pack("<Q", len(state))
    for name in state:
        out += struct.pack("<Q", len(prefix + name)) + (prefix + name).encode()
    return out


@pytest.mark.parametrize("version", [0xF993FAC8, 0xF993FAC9, 0xF993FACA, None])
def test_mxnets_arrays_are_read_without_mxnet(tmp_path, version):
    path = tmp_path / "p3d.params"
    path.write_bytes(params(BLOBS, version, prefix="arg:"))
    state = read_state(path)
    assert state.keys() == BLOBS.keys()
    assert all(torch.equal(state[key], value) for key, value in BLOBS.items())


def test_half_precision_and_integers_keep_their_values():
    small = {"a": torch.tensor([1.5, -2.0])}
    assert torch.equal(read_params(params(small, kind=2))["a"], small["a"])
    assert read_params(params({"n": torch.tensor([7])}, kind=6))["n"].dtype == torch.int64


def test_the_zip_of_the_gluon_model_zoo_is_looked_into(tmp_path):
    state = nets.gluon_names(nets.port_state())
    with zipfile.ZipFile(tmp_path / "p3d.zip", "w") as archive:
        archive.writestr("p3d_resnet50_kinetics400-671ba81c.params", params(state))
    assert recognize(read_state(tmp_path / "p3d.zip"), "f") == "gluon"


@settings(deadline=None, max_examples=80)
@given(cut=st.floats(0, 1), flip=st.integers(0, 10**6), byte=st.integers(0, 255))
def test_damaged_params_are_refused_or_read_but_never_crash(cut, flip, byte):
    data = bytearray(params({"a": torch.zeros(2, 3), "b": torch.ones(2)}))
    data[flip % len(data)] = byte
    with suppress(ValueError):
        read_params(bytes(data[: 16 + int(cut * (len(data) - 16))]))


def test_arrays_of_numpy_are_read_and_objects_are_not(tmp_path):
    np.savez(tmp_path / "a.npz", **{k: v.numpy() for k, v in BLOBS.items()}, n=np.int64(3))
    state = read_state(tmp_path / "a.npz")
    assert torch.equal(state["conv1.0"], BLOBS["conv1.0"])
    assert state["n"].shape == ()
    np.savez(tmp_path / "b.npz", a=np.array([{}, 1], dtype=object))
    with pytest.raises(WeightsError, match="an array of objects"):
        read_state(tmp_path / "b.npz")


@pytest.mark.parametrize("suffix", ["caffemodel", "params", "npz"])
def test_broken_files_are_named_with_their_cause(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        np.savez(path, **{k: v.numpy() for k, v in BLOBS.items()})
    else:
        path.write_bytes(params(BLOBS) if suffix == "params" else caffemodel(BLOBS))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(WeightsError, match=r"a\.\w+: damaged, incomplete or not a checkpoint"):
        read_state(path)


# Recognition


def test_unknown_names_list_every_known_kind():
    with pytest.raises(WeightsError) as err:
        recognize({"encoder.weight": torch.zeros(1)}, "f.pth")
    assert all(known.told in str(err.value) for known in FORMATS)


def test_names_of_a_kind_with_impossible_shapes_are_refused_in_words():
    state = {**nets.author_state(), "conv1.weight": torch.zeros(4)}
    with pytest.raises(WeightsError, match="names are those of author2021 weights"):
        understand(state, Choices(source="f.pth"))


@pytest.mark.parametrize(
    ("state", "name", "options", "wanted"),
    [
        (nets.port_state(), "p3d50", {"semantics": "port"}, ("port", None)),
        (nets.resnet_state(), "resnet18", {}, (None, None)),
        (
            nets.hara_state(),
            "r3d18",
            {"stem_stride": (1, 1, 1), "num_classes": 3},
            ("monai", 3),
        ),
        (
            nets.hara_state(),
            "r3d18",
            {"strides": (1, 2, 1, 1), "time_strides": (1, 2, 1, 1), "dilations": (1, 1, 2, 4),
             "stem_stride": (2, 2, 2)},
            ("medicalnet", 400),
        ),
    ],
)  # fmt: skip
def test_what_weights_leave_open_is_taken_from_the_network_they_are_for(
    state, name, options, wanted
):
    with torch.device("meta"):
        assert as_in(state, create_model(name, **options).cfg, "f") == wanted


# Input scale

RGB = Preprocessing(resize=32, size=(32, 32), mean=(0.45, 0.42, 0.4), std=(0.23, 0.22, 0.22))
BYTES = Preprocessing(
    resize=32, size=(32, 32), color="bgr", scale=1.0, mean=(104.0, 117.0, 123.0), std=(1.0,) * 3
)
PLAIN = Preprocessing(resize=32, size=(32, 32), mean=(0.0,) * 3, std=(1.0,) * 3)
UNCENTERED = Preprocessing(resize=32, size=(32, 32), mean=(0.0,) * 3, std=(0.23, 0.22, 0.22))


def natural(n=6, t=4, size=40):
    """Clips as bytes whose pixels resemble their neighbors, colors alike, about the usual mean."""
    draw = torch.Generator().manual_seed(5)
    blocks = torch.zeros(n, 3, t, size, size)
    for side in (2, 4, 8, 16):
        coarse = torch.randn(n, 4, 1, side, side, generator=draw)
        fine = nn.functional.interpolate(coarse, (t, size, size), mode="trilinear")
        blocks += 0.95 * fine[:, :1] + 0.3 * fine[:, 1:]
    blocks = blocks / blocks.std() * 55 + 108
    return blocks.clamp(0, 255).to(torch.uint8)


def trained(pre, name="p3d_nano", **options):
    """A network whose batch norms have seen natural clips through a preprocessing."""
    torch.manual_seed(0)
    net = create_model(name, in_channels=pre.channels, num_classes=2, **options).train()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None
    with torch.no_grad():
        net(pre.normalize(natural()))
    return net.eval()


@pytest.mark.parametrize("pre", [RGB, BYTES, PLAIN], ids=["rgb", "bytes", "plain"])
@pytest.mark.parametrize("name", ["p3d_nano", "r3d_tiny", "r2plus1d_tiny"])
def test_the_preprocessing_of_the_training_agrees(pre, name):
    found = input_scale(trained(pre, name), pre)
    assert found.fits
    assert 0.4 < found.ratio < 2.5
    assert "agrees" in str(found)


@pytest.mark.parametrize(
    ("seen", "given", "told"),
    [
        (BYTES, RGB, r"saw inputs about \d\d times larger"),
        (RGB, BYTES, r"saw inputs about \d\d times smaller"),
        (RGB, PLAIN, "about 4 times larger"),
        (PLAIN, RGB, "about [45] times smaller"),
        (UNCENTERED, RGB, "deviations above"),
        (RGB, UNCENTERED, "deviations below"),
    ],
)
def test_another_preprocessing_than_that_of_the_training_is_seen(seen, given, told):
    found = input_scale(trained(seen), given)
    assert not found.fits
    assert torch.tensor(found.ratio).isfinite()
    assert re.search(told, str(found))


def test_networks_that_cannot_be_judged_are_not():
    assert input_scale(create_model("p3d_nano"), RGB) is None  # has seen nothing
    gray = Preprocessing(resize=32, size=(32, 32), color="gray", mean=(0.4,), std=(0.2,))
    assert input_scale(trained(RGB), gray) is None  # takes other channels
    with torch.device("meta"):
        c3d = create_model("c3d")
    assert first_norm(c3d) is None
    assert input_scale(c3d, RGB) is None
