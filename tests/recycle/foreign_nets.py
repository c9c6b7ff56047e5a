"""State dicts under other projects' names, and what their networks compute, straight from them.

Written from the papers and the names alone; shares no code with the library.
"""

import torch
import torch.nn.functional as F

WIDTHS, STEM = (4, 6, 8, 10), 4


class State(dict):
    """A state dict being written; batch norms have seen something."""

    def __init__(self, seed=0):
        super().__init__()
        self.draw = torch.Generator().manual_seed(seed)

    def conv(self, name, cout, cin, *kernel, bias=False):
        fan = cin * torch.tensor(kernel).prod().item()
        self[f"{name}.weight"] = torch.randn(cout, cin, *kernel, generator=self.draw) / fan**0.5
        if bias:
            self[f"{name}.bias"] = torch.randn(cout, generator=self.draw)

    def norm(self, name, size, weight="weight", bias="bias"):
        for leaf, low, high in (
            (weight, 0.5, 1.5), (bias, -0.3, 0.3), ("running_mean", -0.3, 0.3),
            ("running_var", 0.5, 1.5),
        ):  # fmt: skip
            self[f"{name}.{leaf}"] = torch.rand(size, generator=self.draw) * (high - low) + low

    def head(self, name, classes, cin):
        self[f"{name}.weight"] = torch.randn(classes, cin, generator=self.draw)
        self[f"{name}.bias"] = torch.randn(classes, generator=self.draw)


def bn(state, name, x, eps=1e-5):
    values = (state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *values, eps=eps)


def same(state, name, x, stride=1, dilation=1):
    """A convolution whose output lies on its input, in 2-D or 3-D."""
    weight = state[f"{name}.weight"]
    kernel = weight.shape[2:]
    dilation = [dilation if k > 1 else 1 for k in kernel]
    pad = [d * (k // 2) for k, d in zip(kernel, dilation, strict=True)]
    run = F.conv3d if weight.ndim == 5 else F.conv2d
    return run(x, weight, state.get(f"{name}.bias"), stride, pad, dilation)


def linear(state, name, x):
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


normalize = bn

# P3D as the author wrote it in 2021


def author_state(depths=(3, 4, 6, 3), classes=7, length=4):
    state = State()
    state.conv("conv1", STEM, 3, length, 7, 7)
    state.norm("bn1", STEM)
    cin = STEM
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        for block in range(depth):
            at = f"layer{stage}.{block}."
            state.conv(f"{at}conv1", width, cin, 1, 1, 1)
            state.conv(f"{at}conv2", width, width, 1, 3, 3)
            state.conv(f"{at}conv2_t", width, width, 3, 1, 1)
            state.conv(f"{at}conv3", 4 * width, width, 1, 1, 1)
            for number, size in ((1, width), (2, width), (3, 4 * width)):
                state.norm(f"{at}bn{number}", size)
            if block == 0:
                state.conv(f"{at}downsample.0", 4 * width, cin, 1, 1, 1)
                state.norm(f"{at}downsample.1", 4 * width)
            cin = 4 * width
    state.head("fc", classes, cin)
    return state


def author_net(state, x, depths=(3, 4, 6, 3)):
    length = state["conv1.weight"].shape[2]
    x = F.conv3d(x, state["conv1.weight"], None, (length, 2, 2), (0, 3, 3))
    x = F.max_pool3d(bn(state, "bn1", x).relu(), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    count = 0
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            at, mix = f"layer{stage}.{block}.", "ABC"[count % 3]
            s = 2 if stage > 1 and block == 0 else 1
            y = bn(state, f"{at}bn1", same(state, f"{at}conv1", x)).relu()
            if mix == "A":
                z = same(state, f"{at}conv2_t", same(state, f"{at}conv2", y, (1, s, s)))
                y = bn(state, f"{at}bn2", z).relu()
            elif mix == "B":
                z = same(state, f"{at}conv2", y, (1, s, s))
                y = bn(state, f"{at}bn2", z + same(state, f"{at}conv2_t", y, (1, s, s))).relu()
            else:
                y = bn(state, f"{at}bn2", same(state, f"{at}conv2", y, (1, s, s))).relu()
                y = (y + same(state, f"{at}conv2_t", y)).relu()
            y = bn(state, f"{at}bn3", same(state, f"{at}conv3", y))
            if block == 0:
                x = bn(state, f"{at}downsample.1", same(state, f"{at}downsample.0", x, (1, s, s)))
            x, count = (x + y).relu(), count + 1
    return linear(state, "fc", x.mean((2, 3, 4)))


# P3D in the layout of the PyTorch port, under the names of three projects


def port_state(depths=(3, 4, 6, 3), channels=3, classes=7, variance=None):
    """Names and shapes of the published files."""
    state = State()
    state.conv("conv1_custom", STEM, channels, 1, 7, 7)
    state.norm("bn1", STEM)
    cin = STEM
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        flat = stage == 4
        point = (1, 1) if flat else (1, 1, 1)
        for block in range(depth):
            at = f"layer{stage}.{block}."
            state.conv(f"{at}conv1", width, cin, *point)
            if flat:
                state.conv(f"{at}conv_normal", width, width, 3, 3)
                state.norm(f"{at}bn_normal", width)
            else:
                state.conv(f"{at}conv2", width, width, 1, 3, 3)
                state.conv(f"{at}conv3", width, width, 3, 1, 1)
                state.norm(f"{at}bn2", width)
                state.norm(f"{at}bn3", width)
            state.conv(f"{at}conv4", 4 * width, width, *point)
            state.norm(f"{at}bn1", width)
            state.norm(f"{at}bn4", 4 * width)
            if block == 0:
                state.conv(f"{at}downsample.0", 4 * width, cin, *point)
                state.norm(f"{at}downsample.1", 4 * width)
            cin = 4 * width
    state.head("fc", classes, cin)
    if variance is not None:
        state["bn1.running_var"].fill_(variance)
    return state


def gluon_names(state):
    """The port's entries as GluonCV calls them."""
    found = {}
    for key, value in state.items():
        for theirs, gluon in (
            ("conv1_custom", "conv1"),
            (".conv3.", ".conv_temporal."),
            (".bn3.", ".bn_temporal."),
            (".conv_normal.", ".conv2."),
            (".bn_normal.", ".bn2."),
            (".conv4.", ".conv3."),
            (".bn4.", ".bn3."),
        ):
            if theirs in key:
                key = key.replace(theirs, gluon)
                break
        norm = ".bn" in key or key.startswith("bn") or "downsample.1" in key
        if norm and key.endswith((".weight", ".bias")):
            part, _, leaf = key.rpartition(".")
            key = f"{part}.{'gamma' if leaf == 'weight' else 'beta'}"
        found[key] = value
    return found


def caffe_names(state, head="fc_kinetics", sep="."):
    """The port's entries as the authors' prototxt calls them, blobs counted."""
    depths = {
        s: 1 + max(int(k.split(".")[1]) for k in state if k.startswith(f"layer{s}."))
        for s in (1, 2, 3, 4)
    }
    blobs = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
    branches = {"1": "2a", "2": "2b", "3": "2b_t", "4": "2c", "_normal": "2b"}
    found = {}
    for key, value in state.items():
        *where, leaf = key.split(".")
        if where[0].startswith("layer"):
            stage, block, part = int(where[0][5:]), int(where[1]), where[2]
            letters = depths[stage] <= 3
            name = "abc"[block] if letters else "a" if block == 0 else f"b{block}"
            if part == "downsample":
                branch, norm = "1", where[3] == "1"
            else:
                norm = part.startswith("bn")
                branch = branches[part.removeprefix("bn").removeprefix("conv")]
            layer = f"{'bn' if norm else 'res'}{stage + 1}{name}_branch{branch}"
        else:
            norm = where[0] == "bn1"
            layer = {"conv1_custom": "conv1", "bn1": "bn_conv1", "fc": head}[where[0]]
        found[f"{layer}{sep}{blobs[leaf]}"] = value[None] if norm else value
    return found


# torchvision's video ResNets


def middle(cin, cout):
    return cin * cout * 27 // (cin * 9 + 3 * cout)


def video_state(form="r3d", depths=(2, 2, 2, 2), classes=5, bottleneck=False, own=False):
    state = State()
    if form == "r2plus1d":
        state.conv("stem.0", 45, 3, 1, 7, 7)
        state.norm("stem.1", 45)
        state.conv("stem.3", STEM, 45, 3, 1, 1)
        state.norm("stem.4", STEM)
    else:
        state.conv("stem.0", STEM, 3, 3, 7, 7)
        state.norm("stem.1", STEM)

    def unit(name, cout, cin, mid):
        if form == "r2plus1d":
            state.conv(f"{name}.0.0", mid, cin, 1, 3, 3)
            state.norm(f"{name}.0.1", mid)
            state.conv(f"{name}.0.3", cout, mid, 3, 1, 1)
        else:
            state.conv(f"{name}.0", cout, cin, 1 if form == "mc3" and stage > 1 else 3, 3, 3)
        state.norm(f"{name}.1", cout)

    cin = STEM
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        cout = 4 * width if bottleneck else width
        for block in range(depth):
            at = f"layer{stage}.{block}."
            mid = middle(cin, width)
            if bottleneck:
                state.conv(f"{at}conv1.0", width, cin, 1, 1, 1)
                state.norm(f"{at}conv1.1", width)
                unit(f"{at}conv2", width, width, mid)
                state.conv(f"{at}conv3.0", cout, width, 1, 1, 1)
                state.norm(f"{at}conv3.1", cout)
            else:
                unit(f"{at}conv1", width, cin, mid)
                unit(f"{at}conv2", width, width, middle(width, width) if own else mid)
            if block == 0 and (stage > 1 or cin != cout):
                state.conv(f"{at}downsample.0", cout, cin, 1, 1, 1)
                state.norm(f"{at}downsample.1", cout)
            cin = cout
    state.head("fc", classes, cin)
    return state


def video_net(state, x, form="r3d", depths=(2, 2, 2, 2), bottleneck=False, eps=1e-5):
    def bn(state, name, x):
        return normalize(state, name, x, eps)

    if form == "r2plus1d":
        x = bn(state, "stem.1", same(state, "stem.0", x, (1, 2, 2))).relu()
        x = bn(state, "stem.4", same(state, "stem.3", x)).relu()
    else:
        x = bn(state, "stem.1", same(state, "stem.0", x, (1, 2, 2))).relu()

    def unit(name, x, s=1):
        if form == "r2plus1d":
            x = bn(state, f"{name}.0.1", same(state, f"{name}.0.0", x, (1, s, s))).relu()
            x = same(state, f"{name}.0.3", x, (s, 1, 1))
        else:
            t = 1 if form == "mc3" and stage > 1 else s
            x = same(state, f"{name}.0", x, (t, s, s))
        return bn(state, f"{name}.1", x)

    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            at, s = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            if bottleneck:
                y = bn(state, f"{at}conv1.1", same(state, f"{at}conv1.0", x)).relu()
                y = unit(f"{at}conv2", y, s).relu()
                y = bn(state, f"{at}conv3.1", same(state, f"{at}conv3.0", y))
            else:
                y = unit(f"{at}conv2", unit(f"{at}conv1", x, s).relu())
            if f"{at}downsample.0.weight" in state:
                t = 1 if form == "mc3" else s
                x = bn(state, f"{at}downsample.1", same(state, f"{at}downsample.0", x, (t, s, s)))
            x = (x + y).relu()
    return linear(state, "fc", x.mean((2, 3, 4)))


# Hara's 3-D ResNets, MedicalNet, MONAI


def hara_state(
    depths=(2, 2, 2, 2), *, bottleneck=False, shortcut="B", bias=False, channels=1, classes=None
):
    state = State()
    state.conv("conv1", STEM, channels, 7, 7, 7)
    state.norm("bn1", STEM)
    cin = STEM
    for stage, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True), 1):
        cout = 4 * width if bottleneck else width
        for block in range(depth):
            at = f"layer{stage}.{block}."
            kernels = ((1, 1, 1), (3, 3, 3), (1, 1, 1)) if bottleneck else ((3, 3, 3),) * 2
            sizes = (width, width, cout) if bottleneck else (width, width)
            came = cin
            for number, (kernel, size) in enumerate(zip(kernels, sizes, strict=True), 1):
                state.conv(f"{at}conv{number}", size, came, *kernel)
                state.norm(f"{at}bn{number}", size)
                came = size
            if shortcut == "B" and block == 0 and (stage > 1 or cin != cout):
                state.conv(f"{at}downsample.0", cout, cin, 1, 1, 1, bias=bias)
                state.norm(f"{at}downsample.1", cout)
            cin = cout
    if classes:
        state.head("fc", classes, cin)
    return state


# Strides and dilations of the four stages, stride of the stem.
HARA = {
    "medicalnet": ((1, 2, 1, 1), (1, 1, 2, 4), (2, 2, 2)),
    "monai": ((1, 2, 2, 2), (1, 1, 1, 1), (1, 1, 1)),
    "hara": ((1, 2, 2, 2), (1, 1, 1, 1), (1, 2, 2)),
}


def hara_features(state, x, form, depths=(2, 2, 2, 2), *, bottleneck=False):
    strides, dilations, stem = HARA[form]
    x = F.max_pool3d(bn(state, "bn1", same(state, "conv1", x, stem)).relu(), 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            at, s = f"layer{stage}.{block}.", strides[stage - 1] if block == 0 else 1
            d = dilations[stage - 1]
            if bottleneck:
                y = bn(state, f"{at}bn1", same(state, f"{at}conv1", x)).relu()
                y = bn(state, f"{at}bn2", same(state, f"{at}conv2", y, s, d)).relu()
                y = bn(state, f"{at}bn3", same(state, f"{at}conv3", y))
            else:
                y = bn(state, f"{at}bn1", same(state, f"{at}conv1", x, s, d)).relu()
                y = bn(state, f"{at}bn2", same(state, f"{at}conv2", y, 1, d))
            if f"{at}downsample.0.weight" in state:
                x = bn(state, f"{at}downsample.1", same(state, f"{at}downsample.0", x, s))
            elif x.shape != y.shape:
                x = F.avg_pool3d(x, 1, s)
                zeros = x.new_zeros(x.shape[0], y.shape[1] - x.shape[1], *x.shape[2:])
                x = torch.cat([x, zeros], 1)
            x = (x + y).relu()
    return x.mean((2, 3, 4))


# 2-D ResNets, TSN, TSM


def resnet_state(depths=(2, 2, 2, 2), *, bottleneck=False, classes=5, groups=1, widths=WIDTHS):
    state = State()
    state.conv("conv1", STEM, 3, 7, 7)
    state.norm("bn1", STEM)
    cin = STEM
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        cout = 4 * width if bottleneck else width
        for block in range(depth):
            at = f"layer{stage}.{block}."
            if bottleneck:
                state.conv(f"{at}conv1", width, cin, 1, 1)
                state.conv(f"{at}conv2", width, width // groups, 3, 3)
                state.conv(f"{at}conv3", cout, width, 1, 1)
                state.norm(f"{at}bn3", cout)
            else:
                state.conv(f"{at}conv1", width, cin, 3, 3)
                state.conv(f"{at}conv2", width, width, 3, 3)
            state.norm(f"{at}bn1", width)
            state.norm(f"{at}bn2", width)
            if block == 0 and (stage > 1 or cin != cout):
                state.conv(f"{at}downsample.0", cout, cin, 1, 1)
                state.norm(f"{at}downsample.1", cout)
            cin = cout
    state.head("fc", classes, cin)
    return state


def resnet_net(state, frames, depths=(2, 2, 2, 2), *, bottleneck=False, shift=None):
    """Logits of frames (T, C, H, W); `shift` is TSM's, in front of each block's first kernel."""
    x = F.max_pool2d(bn(state, "bn1", same(state, "conv1", frames, 2)).relu(), 3, 2, 1)
    for stage, depth in enumerate(depths, 1):
        for block in range(depth):
            at, s = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            y = x if shift is None else shift(x)
            y = bn(state, f"{at}bn1", same(state, f"{at}conv1", y, 1 if bottleneck else s)).relu()
            y = bn(state, f"{at}bn2", same(state, f"{at}conv2", y, s if bottleneck else 1))
            if bottleneck:
                y = bn(state, f"{at}bn3", same(state, f"{at}conv3", y.relu()))
            if f"{at}downsample.0.weight" in state:
                x = bn(state, f"{at}downsample.1", same(state, f"{at}downsample.0", x, s))
            x = (x + y).relu()
    return linear(state, "fc", x.mean((2, 3)))


def shifted(x):
    """TSM, offline: an eighth of the channels from the next frame, an eighth from the last."""
    fold, out = x.shape[1] // 8, x.clone()
    out[:, : 2 * fold] = 0
    out[:-1, :fold] = x[1:, :fold]
    out[1:, fold : 2 * fold] = x[:-1, fold : 2 * fold]
    return out


# C3D


def c3d_state(classes=5, widths=(3, 4, 5, 6, 6), fc=8):
    state = State()
    sizes = [("conv1", 0, 3), ("conv2", 1, 0), ("conv3a", 2, 1), ("conv3b", 2, 2)]
    sizes += [("conv4a", 3, 2), ("conv4b", 3, 3), ("conv5a", 4, 3), ("conv5b", 4, 4)]
    for name, out, came in sizes:
        cin = 3 if name == "conv1" else widths[came]
        state.conv(name, widths[out], cin, 3, 3, 3, bias=True)
    state.head("fc6", fc, widths[-1] * 16)
    state.head("fc7", fc, fc)
    state.head("fc8", classes, fc)
    return state


def c3d_net(state, x):
    x = F.max_pool3d(same(state, "conv1", x).relu(), (1, 2, 2))
    x = F.max_pool3d(same(state, "conv2", x).relu(), 2)
    for group in ("3", "4", "5"):
        x = same(state, f"conv{group}b", same(state, f"conv{group}a", x).relu()).relu()
        x = F.max_pool3d(x, 2, ceil_mode=True)
    x = linear(state, "fc6", x.flatten(1)).relu()
    return linear(state, "fc8", linear(state, "fc7", x).relu())
