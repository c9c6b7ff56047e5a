"""A network started from a 2-D ResNet equals it on every frame, or is not started at all."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.testing import assert_close

from pseudo3d.errors import WeightsError
from pseudo3d.models import create_model
from pseudo3d.recycle import inflate as module
from pseudo3d.recycle.inflate import inflate

WIDTHS = (4, 6, 8, 10)
DEPTHS = (1, 2, 3, 1)  # seven blocks: every letter, in every stage but the first and last twice


class Block(nn.Module):
    """A residual block of the 2-D reference, under torchvision's names."""

    def __init__(self, cin, width, stride, bottleneck, stride_on):
        super().__init__()
        cout = width * 4 if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            first, second = (stride, 1) if stride_on == "1x1" else (1, stride)
            self.conv1 = nn.Conv2d(cin, width, 1, first, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, second, 1, bias=False)
            self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(cout)
        else:
            self.conv1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or cin != cout:
            conv = nn.Conv2d(cin, cout, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(cout))

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.bottleneck:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class Reference(nn.Module):
    """A plain 2-D ResNet: frames (N, C, H, W) -> features (N, F)."""

    def __init__(self, block="bottleneck", stride_on="3x3", pool="pad", channels=3, classes=5):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 8, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.maxpool = (
            nn.MaxPool2d(3, 2, 1) if pool == "pad" else nn.MaxPool2d(3, 2, 0, 1, False, True)
        )
        cin = 8
        for stage, (depth, width) in enumerate(zip(DEPTHS, WIDTHS, strict=True), 1):
            blocks = []
            for j in range(depth):
                stride = 2 if stage > 1 and j == 0 else 1
                blocks.append(Block(cin, width, stride, block == "bottleneck", stride_on))
                cin = width * (4 if block == "bottleneck" else 1)
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
        return x.mean((2, 3))


def reference(**options):
    """A reference whose batch norms have seen something."""
    torch.manual_seed(0)
    net = Reference(**options).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.uniform_(m.weight, 0.5, 1.5)
            nn.init.uniform_(m.bias, -0.3, 0.3)
            nn.init.uniform_(m.running_mean, -0.3, 0.3)
            nn.init.uniform_(m.running_var, 0.5, 1.5)
    return net


def tiny(name="p3d50", **options):
    """A narrow network with letters in all places; what a 2-D net has not is scrambled."""
    defaults = {"depths": DEPTHS, "widths": WIDTHS, "stem_width": 8, "num_classes": 5}
    net = create_model(name, **{**defaults, **options})
    torch.manual_seed(1)
    for key, value in net.state_dict().items():
        if "time" in key and value.is_floating_point():
            value.uniform_(0.2, 0.8)
    return net.eval()


def frames(channels=3, count=3):
    return torch.randn(count, channels, 67, 70, generator=torch.Generator().manual_seed(3))


CASES = [
    ("release", "bottleneck", {"stride_on": "3x3", "stem_pool": "pad"}),
    ("port", "bottleneck", {"stride_on": "3x3"}),
    ("modern", "bottleneck", {}),
    ("release", "basic", {"stem_pool": "pad"}),
    ("port", "basic", {}),
    ("modern", "basic", {}),
]


@pytest.mark.parametrize(("semantics", "block", "options"), CASES)
@torch.inference_mode()
def test_fresh_network_equals_the_2d_network_on_each_frame(semantics, block, options):
    twin = reference(block=block)
    net = tiny(semantics=semantics, block=block, **options)
    report = inflate(net, twin.state_dict())
    wanted = twin(frames())
    assert_close(net.features(frames()[:, :, None]), wanted, rtol=1e-5, atol=1e-5)
    still = frames()[:, :, None].expand(-1, -1, 16, -1, -1)
    assert_close(net.features(still), wanted, rtol=1e-5, atol=1e-5)
    assert_close(net(still), twin.fc(wanted), rtol=1e-5, atol=1e-5)
    assert report.error < 1e-5


@pytest.mark.parametrize("semantics", ["release", "port", "modern"])
@torch.inference_mode()
def test_without_temporal_pooling_every_frame_of_a_moving_clip_is_the_2d_networks(semantics):
    twin = reference()
    net = tiny(
        semantics=semantics,
        stride_on="3x3",
        stem_pool="pad",
        time_pools=(1, 1, 1, 1),
        time_stages=(True,) * 4,
        stem_kernel=(3, 7, 7),
        stem_stride=(1, 2, 2),
    )
    inflate(net, twin.state_dict())
    clip = frames(count=5).transpose(0, 1)[None]
    got = net.feature_map(clip).mean((3, 4))[0].T
    assert_close(got, twin(frames(count=5)), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_caffe_placement_of_stride_and_pool():
    twin = reference(stride_on="1x1", pool="ceil")
    net = tiny(semantics="release")
    inflate(net, twin.state_dict(), source_stride="1x1", source_pool="ceil")
    assert_close(net.features(frames()[:, :, None]), twin(frames()), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_the_per_frame_resnet_takes_the_same_weights():
    twin = reference()
    net = tiny("resnet50")
    inflate(net, twin.state_dict())
    assert_close(net.features(frames()[:, :, None]), twin(frames()), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "block", "options"),
    [
        ("r3d18", "basic", {"stem_pool": "pad"}),
        ("mc3_18", "basic", {"stem_pool": "pad"}),
        ("r3d50", "bottleneck", {"stem_pool": "pad"}),
        ("i3d50", "bottleneck", {}),
    ],
)
@torch.inference_mode()
def test_3d_networks_take_the_2d_kernels_in_the_center(name, block, options):
    twin = reference(block=block)
    net = tiny(name, **options)
    report = inflate(net, twin.state_dict())
    wanted = twin(frames())
    assert_close(net.features(frames()[:, :, None]), wanted, rtol=1e-5, atol=1e-5)
    still = frames()[:, :, None].expand(-1, -1, 8, -1, -1)
    assert_close(net.features(still), wanted, rtol=1e-5, atol=1e-5)
    assert not report.fresh


@pytest.mark.parametrize(("name", "block"), [("tsm18", "basic"), ("tsm50", "bottleneck")])
@torch.inference_mode()
def test_a_shifting_network_equals_the_2d_one_but_for_its_shift(name, block):
    twin = reference(block=block)
    net = tiny(name)
    report = inflate(net, twin.state_dict())
    plain = tiny(name, shift=None)
    plain.load_state_dict(net.state_dict())
    assert_close(plain.features(frames()[:, :, None]), twin(frames()), rtol=1e-5, atol=1e-5)
    assert "compared without its shift" in str(report)
    assert report.error < 1e-5


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("r3d18", {}, "stem_pool='pad'"),
        ("r2plus1d18", {"stem_pool": "pad"}, "middle widths no 2-D network has"),
        ("r3d18", {"stem_pool": "pad", "dilations": (1, 1, 2, 2)}, "dilation"),
    ],
)
def test_3d_networks_that_cannot_equal_the_2d_one_are_refused(name, options, told):
    with pytest.raises(WeightsError, match=told):
        inflate(tiny(name, **options), reference(block="basic").state_dict())


def test_c3d_is_refused_in_words():
    net = create_model("c3d_tiny")
    with pytest.raises(WeightsError, match="a C3D cannot be started from a ResNet"):
        inflate(net, reference(block="basic").state_dict())


@pytest.mark.parametrize("channels", [1, 2, 6])
@torch.inference_mode()
def test_other_channels_respond_alike_to_a_gray_image(channels):
    twin = reference()
    net = tiny(in_channels=channels)
    report = inflate(net, twin.state_dict())
    gray = frames(1)
    wanted = twin(gray.expand(-1, 3, -1, -1))
    got = net.features(gray.expand(-1, channels, -1, -1)[:, :, None])
    assert_close(got, wanted, rtol=1e-5, atol=1e-5)
    assert f"from 3 channels to {channels}" in str(report)


def test_head_is_copied_only_if_the_classes_agree():
    twin = reference()
    same, other = tiny(), tiny(num_classes=7)
    before = other.head.weight.clone()
    assert not [k for k in inflate(same, twin.state_dict()).fresh if k.startswith("head")]
    assert torch.equal(same.head.weight, twin.fc.weight)
    report = inflate(other, twin.state_dict())
    assert {"head.weight", "head.bias"} <= set(report.fresh)
    assert torch.equal(other.head.weight, before)


def test_report_accounts_for_every_entry_and_prints_the_figure():
    net = tiny(semantics="port", stride_on="3x3")
    report = inflate(net, reference().state_dict())
    assert sorted((*report.loaded, *report.fresh)) == sorted(net.state_dict())
    assert all(".time" in key for key in report.fresh)
    told = str(report)
    assert "bottleneck blocks 1, 2, 3, 1" in told
    assert f"{report.error:.1e}" in told
    assert "6 temporal kernels" in told


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_reads_files_and_leaves_the_mode_alone(tmp_path, suffix):
    path = tmp_path / f"resnet.{suffix}"
    state = reference().state_dict()
    if suffix == "pth":
        torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, path)
    else:
        save_file({k: v for k, v in state.items() if "num_batches" not in k}, path)
    net = tiny().train()
    frozen = [m.eval() for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    report = inflate(net, path)
    assert net.training
    assert not any(m.training for m in frozen)
    assert path.name in report.source


@pytest.mark.parametrize(
    ("options", "source", "told"),
    [
        ({"semantics": "port"}, {}, r"create_model\(\.\.\., stride_on='3x3'\)"),
        ({"semantics": "release"}, {}, "stride_on='3x3', stem_pool='pad'"),
        ({}, {"source_stride": "1x1"}, "stride_on='1x1'"),
        ({}, {"source_pool": "ceil"}, "stem_pool='ceil'"),
        ({"strides": (1, 2, 2, 1)}, {}, r"strides=\(1, 2, 2, 2\)"),
        ({"dilation": (1, 2, 2)}, {}, "dilation"),
        ({"padding_mode": "replicate"}, {}, "padding_mode='zeros'"),
        ({"depths": (3, 4, 6, 3)}, {}, r"1, 2, 3, 1.*needs ResNet-50"),
        ({"block": "basic"}, {}, "needs a ResNet with basic blocks"),
        ({"widths": (4, 6, 8, 12)}, {}, "layer4.0.conv1.weight has shape"),
        ({"stem_kernel": (1, 5, 5)}, {}, "conv1.weight has shape"),
    ],
)
def test_what_cannot_be_equal_is_refused_and_the_network_left_alone(options, source, told):
    net = tiny(**options)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with pytest.raises(WeightsError, match=told):
        inflate(net, reference().state_dict(), **source)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop("layer3.1.bn2.weight"), "layer3.1.bn2.weight is missing"),
        (lambda s: s.update({"layer5.0.x": torch.zeros(1)}), "layer5.0.x is unknown|1, 2, 3, 1, 1"),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), "extra.weight is unknown"),
        (lambda s: s.pop("conv1.weight"), "not a known kind"),
    ],
)
def test_lacking_and_unknown_entries_are_named(change, told):
    state = reference().state_dict()
    change(state)
    with pytest.raises(WeightsError, match=told):
        inflate(tiny(), state)


def test_weights_of_our_own_are_sent_to_the_right_door():
    with pytest.raises(WeightsError, match="ours weights; use load_state_dict"):
        inflate(tiny(), tiny().state_dict())


def test_half_precision_is_refused():
    with pytest.raises(WeightsError, match="not in float32"):
        inflate(tiny().half(), reference().state_dict())


def test_a_network_that_differs_from_the_2d_one_is_refused(monkeypatch):
    """The check is independent: a slip in the transfer is seen."""
    monkeypatch.setattr(module, "_still", lambda net: 0)
    with pytest.raises(WeightsError, match="differs from the 2-D network"):
        inflate(tiny(), reference().state_dict())
