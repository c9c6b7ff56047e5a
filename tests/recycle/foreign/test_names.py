"""Weights of other projects compute in our networks what they compute in their own."""

import pytest
import torch
from torch.testing import assert_close

from pseudo3d.errors import WeightsError
from pseudo3d.models import create_model
from pseudo3d.recycle.foreign.formats import recognize, understand
from pseudo3d.recycle.foreign.kinds import Choices
from recycle import foreign_nets as nets


def read(state, **choices):
    """Read as if the file were called f.pth."""
    return understand(dict(state), Choices(source="f.pth", **choices))


def build(found, **narrow):
    """The network found, narrow, with the weights found; every name and shape must fit."""
    options = {"widths": nets.WIDTHS, "stem_width": nets.STEM, **found.config, **narrow}
    net = create_model(found.model, **options)
    net.load_state_dict(found.state)
    return net.eval()


def clip(channels=3, t=8, size=44, n=2):
    return torch.randn(n, channels, t, size, size, generator=torch.Generator().manual_seed(1))


# P3D


@pytest.mark.parametrize("length", [1, 4])
@torch.inference_mode()
def test_the_authors_networks_of_2021_compute_the_same(length):
    state = nets.author_state(length=length)
    found = read(state)
    assert (found.model, found.config["stem_kernel"]) == ("p3d50", (length, 7, 7))
    net = build(found)
    assert_close(net(clip()), nets.author_net(state, clip()), rtol=1e-4, atol=1e-4)


def test_the_authors_network_without_a_classifier_gets_the_number_of_classes_from_the_caller():
    state = {k: v for k, v in nets.author_state().items() if not k.startswith("fc.")}
    with pytest.raises(WeightsError, match=r"without a classifier.*num_classes=N"):
        read(state)
    found = read(state, num_classes=3)
    assert (found.headless, found.config["num_classes"]) == (True, 3)


@pytest.mark.parametrize(
    ("depths", "name"),
    [((3, 4, 6, 3), "p3d50"), ((3, 4, 23, 3), "p3d101"), ((3, 8, 36, 3), "p3d152")],
)
@pytest.mark.parametrize("channels", [2, 3])
def test_the_ports_layout_becomes_our_network(depths, name, channels):
    state = nets.port_state(depths, channels)
    found = read(state)
    assert (found.model, found.config["semantics"]) == (name, "release")
    net = build(found)
    assert (net.cfg.in_channels, net.cfg.num_classes) == (channels, 7)
    assert torch.equal(net.stages[1][1].pair.time.weight, state["layer2.1.conv3.weight"])
    flat = net.stages[3][2].pair.space.weight
    assert torch.equal(flat[:, :, 0], state["layer4.2.conv_normal.weight"])
    assert found.preprocessing.color == ("bgr" if channels == 3 else "flow")
    assert any("k x k to 1 x k x k" in text for text in found.reshaped)


def equal_states(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


@pytest.mark.parametrize("depths", [(3, 4, 6, 3), (3, 8, 36, 3)])
@pytest.mark.parametrize("sep", [".", "/"])
def test_caffe_names_give_the_network_that_the_ports_names_give(depths, sep):
    state = nets.port_state(depths)
    found = read(nets.caffe_names(state, sep=sep))
    assert (found.model, found.config["semantics"]) == ({4: "p3d50", 8: "p3d152"}[depths[1]],
                                                        "release")  # fmt: skip
    assert equal_states(found.state, read(state).state)
    assert found.preprocessing == read(state).preprocessing


def test_old_caffe_files_keep_empty_axes_in_front_of_the_classifier():
    state = nets.caffe_names(nets.port_state(), head="fc_sports1m")
    plain = read(state).state
    state["fc_sports1m.0"] = state["fc_sports1m.0"][None, None]
    state["fc_sports1m.1"] = state["fc_sports1m.1"][None, None, None]
    assert equal_states(read(state).state, plain)


def test_gluon_names_give_the_ports_network_on_imagenets_scale():
    state = nets.port_state()
    found = read(nets.gluon_names(state))
    assert (found.model, found.config["semantics"]) == ("p3d50", "port")
    assert equal_states(found.state, read(state).state)
    assert (found.preprocessing.mean, found.preprocessing.step) == ((0.485, 0.456, 0.406), 2)


def test_kinetics_600_was_trained_with_the_port_and_is_read_so():
    found = read(nets.port_state(classes=600))
    assert found.config["semantics"] == "port"
    assert found.preprocessing.color == "rgb"
    assert read(nets.port_state(classes=600), semantics="release").config["semantics"] == "release"


@pytest.mark.parametrize(
    ("state", "semantics", "told"),
    [
        (nets.port_state((1, 1, 1, 1)), None, r"\(1, 1, 1, 1\) blocks per stage"),
        (nets.port_state(), "modern", "wanted 'release' or 'port'"),
        (nets.gluon_names(nets.port_state()), "release", "wanted 'port'"),
        (nets.author_state(), "port", "wanted 'modern'"),
        (nets.resnet_state(), "port", "wanted none: leave it out"),
        (nets.hara_state(), "port", "'medicalnet' or 'monai' or 'hara'"),
        ({"conv1_custom.weight": torch.zeros(1)}, None, "without fc.weight, bn1.running_var"),
    ],
)
def test_what_these_weights_do_not_leave_open_is_refused(state, semantics, told):
    with pytest.raises(WeightsError, match=told) as err:
        read(state, semantics=semantics)
    assert str(err.value).startswith("f.pth: ")


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("layer1.0.conv1_t.weight", "basic blocks"),
        ("conv2.weight", "a deep stem"),
        ("layer1.0.fc1.weight", "global context"),
    ],
)
def test_the_authors_other_networks_are_told_apart(key, told):
    with pytest.raises(WeightsError, match=told):
        read({**nets.author_state(), key: torch.zeros(1)})


# 3-D networks


@pytest.mark.parametrize(
    ("form", "depths", "bottleneck", "name"),
    [
        ("r3d", (2, 2, 2, 2), False, "r3d18"),
        ("mc3", (2, 2, 2, 2), False, "mc3_18"),
        ("r2plus1d", (2, 2, 2, 2), False, "r2plus1d18"),
        ("r3d", (3, 4, 6, 3), False, "r3d34"),
        ("r3d", (3, 4, 6, 3), True, "r3d50"),
    ],
)
@torch.inference_mode()
def test_torchvisions_video_networks_compute_the_same(form, depths, bottleneck, name):
    state = nets.video_state(form, depths, bottleneck=bottleneck)
    found = read(state)
    assert found.model == name
    wanted = nets.video_net(state, clip(), form, depths, bottleneck)
    assert_close(build(found)(clip()), wanted, rtol=1e-4, atol=1e-4)
    assert (found.preprocessing.fps, found.preprocessing.size) == (15, (112, 112))


@torch.inference_mode()
def test_the_larger_r2plus1d_of_ig65m_has_middle_widths_and_an_epsilon_of_its_own():
    depths = (3, 4, 6, 3)
    state = nets.video_state("r2plus1d", depths, own=True, classes=487)
    found = read(state)
    assert found.model == "r2plus1d34"
    wanted = nets.video_net(state, clip(), "r2plus1d", depths, eps=1e-3)
    assert_close(build(found)(clip()), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", ["medicalnet", "monai", "hara"])
@pytest.mark.parametrize(
    ("depths", "bottleneck", "shortcut", "bias"),
    [
        ((1, 1, 1, 1), False, "B", False),
        ((2, 2, 2, 2), False, "A", False),
        ((3, 4, 6, 3), True, "B", True),
        ((3, 4, 6, 3), True, "A", False),
    ],
)
@torch.inference_mode()
def test_3d_resnets_compute_the_same_in_each_form(form, depths, bottleneck, shortcut, bias):
    """Depth, shortcut and bias are read off the names; strides are the caller's choice."""
    state = nets.hara_state(depths, bottleneck=bottleneck, shortcut=shortcut, bias=bias, classes=3)
    found = read(state, semantics=form)
    assert (found.config["shortcut"], found.config["shortcut_bias"]) == (shortcut, bias)
    assert found.notes == ()
    net, x = build(found), clip(channels=1, t=9, size=33)
    wanted = nets.hara_features(state, x, form, depths, bottleneck=bottleneck)
    assert_close(net.features(x), wanted, rtol=1e-4, atol=1e-4)


def test_medicalnets_files_have_no_classifier_one_channel_and_a_head_that_is_left_out():
    state = nets.hara_state()
    state["conv_seg.0.weight"] = torch.zeros(2, 2, 2, 2, 2)
    with pytest.raises(WeightsError, match="without a classifier"):
        read(state)
    found = read(state, num_classes=2)
    assert (found.dropped, found.headless) == (("conv_seg.0.weight",), True)
    assert found.config["stem_stride"] == (2, 2, 2)
    assert found.config["dilations"] == (1, 1, 2, 4)
    assert "no part of the weights; taken from medicalnet" in found.notes[0]
    assert found.preprocessing is None
    rgb = read(nets.hara_state(channels=3, classes=400))
    assert rgb.config["stem_stride"] == (1, 2, 2)


@torch.inference_mode()
def test_c3d_computes_the_same():
    state = nets.c3d_state()
    found = read(state)
    net = create_model(found.model, widths=(3, 4, 5, 6, 6), fc=(8, 8), **found.config).eval()
    net.load_state_dict(found.state)
    x = clip(t=16, size=112, n=1)
    assert_close(net(x), nets.c3d_net(state, x), rtol=1e-4, atol=1e-4)


# Networks on frames


@pytest.mark.parametrize(
    ("depths", "bottleneck", "name"), [((2, 2, 2, 2), False, "18"), ((3, 4, 6, 3), True, "50")]
)
@torch.inference_mode()
def test_2d_resnets_compute_the_same_on_every_frame(depths, bottleneck, name):
    state = nets.resnet_state(depths, bottleneck=bottleneck)
    found = read(state)
    assert found.model == f"resnet{name}"
    frames = clip()[0].transpose(0, 1)
    wanted = nets.resnet_net(state, frames, depths, bottleneck=bottleneck).mean(0)
    assert_close(build(found)(clip()[:1])[0], wanted, rtol=1e-4, atol=1e-4)


def segments(state, shift):
    """Names as in TSN's and TSM's repositories."""
    found = {}
    for key, value in state.items():
        first = ".0.conv1." in key or ".1.conv1." in key or ".conv1.weight" in key
        if shift and key.startswith("layer") and first:
            key = key.replace(".conv1.", ".conv1.net.")
        found[f"new_fc.{key[3:]}" if key.startswith("fc.") else f"base_model.{key}"] = value
    return found


@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize(("depths", "bottleneck"), [((2, 2, 2, 2), False), ((3, 4, 6, 3), True)])
@torch.inference_mode()
def test_published_tsn_and_tsm_networks_compute_the_same(shift, depths, bottleneck):
    state = nets.resnet_state(depths, bottleneck=bottleneck)
    found = read(segments(state, shift))
    assert found.model == f"{'tsm' if shift else 'tsn'}{50 if bottleneck else 18}"
    frames = clip()[0].transpose(0, 1)
    wanted = nets.resnet_net(
        state, frames, depths, bottleneck=bottleneck, shift=nets.shifted if shift else None
    )
    got = build(found)(clip()[:1])[0]
    assert_close(got, wanted.mean(0), rtol=1e-4, atol=1e-4)
    assert found.preprocessing.frames == 8


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"depths": (1, 1, 1, 1)}, "basic blocks 1, 1, 1, 1, of other depths"),
        ({"depths": (3, 4, 6, 3), "bottleneck": True, "groups": 2}, "grouped.*2 groups, a ResNeXt"),
    ],
)
def test_2d_networks_that_are_no_plain_resnets_name_the_way_out(options, told):
    with pytest.raises(WeightsError, match=rf"{told}.*inflate.*convert"):
        read(nets.resnet_state(**options))


def test_a_wide_resnet_is_told_by_its_expansion():
    state = nets.resnet_state((3, 4, 6, 3), bottleneck=True)
    state["layer1.0.conv1.weight"] = torch.zeros(8, 4, 1, 1)
    state["layer1.0.conv2.weight"] = torch.zeros(8, 8, 3, 3)
    with pytest.raises(WeightsError, match="8 wide"):
        read(state)


# What all have in common


KINDS = {
    "published": nets.port_state(),
    "caffe": nets.caffe_names(nets.port_state()),
    "gluon": nets.gluon_names(nets.port_state()),
    "author2021": nets.author_state(),
    "video": nets.video_state(),
    "resnet3d": nets.hara_state(classes=3),
    "c3d": nets.c3d_state(),
    "tsm": segments(nets.resnet_state(), shift=True),
    "resnet": nets.resnet_state(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_told_from_all_others(kind):
    assert recognize(KINDS[kind], "f") == kind


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("caffe", "c3d")])
def test_old_files_without_counters_of_batches_and_new_ones_with_them_are_alike(kind):
    state = dict(KINDS[kind])
    found = read(state)
    assert any(k.endswith("num_batches_tracked") for k in found.state)
    for key in [k for k in state if k.endswith("running_var")]:
        state[key.replace("running_var", "num_batches_tracked")] = torch.tensor(9)
    after = read(state).state
    assert after.keys() == found.state.keys()
    assert all(v == 9 for k, v in after.items() if k.endswith("tracked"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_entry_is_missing_and_a_foreign_one_is_extra(kind):
    """Nothing is taken for granted: our strict comparison sees both."""
    full = read(KINDS[kind]).state
    inside = [k for k in KINDS[kind] if "layer2" in k or "res3" in k or "conv4" in k]
    ends = ("conv2.weight", ".conv2.0.weight", "2b.0", "b.bias")
    lost = next(k for k in inside if k.endswith(ends))
    state = {k: v for k, v in KINDS[kind].items() if k != lost}
    state["layer2.0.unheard.weight"] = torch.zeros(1)
    found = read(state).state
    assert len(full.keys() - found.keys()) == 1
    assert "layer2.0.unheard.weight" in found


# Class names
