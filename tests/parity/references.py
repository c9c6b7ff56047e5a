"""Networks as other projects name and build them, written here from their papers and key names.

They share no layer with the package: plain torch, one class per published layout. Their state dicts
have the names that published files have, so that loaders can be tested with them, too.
"""

import torch
import torch.nn.functional as F
from torch import nn


def conv3x3x3(cin, cout, middle, stride, kind):
    """torchvision's three makers of convolutions: r3d, mc (no time), r2plus1d."""
    if kind == "full":
        return nn.Conv3d(cin, cout, 3, stride, 1, bias=False)
    if kind == "space":
        return nn.Conv3d(cin, cout, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)
    return nn.Sequential(
        nn.Conv3d(cin, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(),
        nn.Conv3d(middle, cout, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


class VideoBlock(nn.Module):
    """conv1.0, conv1.1, conv2.0, conv2.1 (conv3.0, conv3.1), downsample.0, downsample.1."""

    def __init__(self, cin, width, stride, kind, deep):
        super().__init__()
        cout = width * (4 if deep else 1)
        middle = 27 * cin * width // (9 * cin + 3 * width)
        if deep:
            one = nn.Conv3d(cin, width, 1, bias=False)
            self.conv1 = nn.Sequential(one, nn.BatchNorm3d(width))
            two = conv3x3x3(width, width, middle, stride, kind)
            self.conv2 = nn.Sequential(two, nn.BatchNorm3d(width))
            three = nn.Conv3d(width, cout, 1, bias=False)
            self.conv3 = nn.Sequential(three, nn.BatchNorm3d(cout))
        else:
            one = conv3x3x3(cin, width, middle, stride, kind)
            self.conv1 = nn.Sequential(one, nn.BatchNorm3d(width))
            two = conv3x3x3(width, width, middle, 1, kind)
            self.conv2 = nn.Sequential(two, nn.BatchNorm3d(width))
        if stride > 1 or cin != cout:
            steps = (1, stride, stride) if kind == "space" else stride
            self.downsample = nn.Sequential(
                nn.Conv3d(cin, cout, 1, steps, bias=False), nn.BatchNorm3d(cout)
            )

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        if hasattr(self, "conv3"):
            y = self.conv3(F.relu(y))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


class VideoResNet(nn.Module):
    """torchvision's r3d_18, mc3_18, r2plus1d_18 (kinds per stage), at any width."""

    def __init__(self, kinds, depths, widths=(64, 128, 256, 512), deep=False, classes=400):
        super().__init__()
        width = widths[0]
        if kinds[0] == "2+1":
            self.stem = nn.Sequential(
                nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
                nn.BatchNorm3d(45),
                nn.ReLU(),
                nn.Conv3d(45, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            )
        else:
            self.stem = nn.Sequential(
                nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
                nn.BatchNorm3d(width),
                nn.ReLU(),
            )
        cin = width
        for i, (kind, depth, width) in enumerate(zip(kinds, depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(VideoBlock(cin, width, 2 if i and not j else 1, kind, deep))
                cin = width * (4 if deep else 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = self.stem(x)
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(F.adaptive_avg_pool3d(x, 1).flatten(1))


class ImageBlock(nn.Module):
    """conv1, bn1, conv2, bn2 (conv3, bn3), downsample; shifted frames if there are `frames`."""

    def __init__(self, cin, width, stride, deep, frames=None):
        super().__init__()
        cout, self.deep, self.frames = width * (4 if deep else 1), deep, frames
        self.conv1 = nn.Conv2d(cin, width, 1 if deep else 3, 1 if deep else stride,
                               0 if deep else 1, bias=False)  # fmt: skip
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride if deep else 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        if deep:
            self.conv3 = nn.Conv2d(width, cout, 1, bias=False)
            self.bn3 = nn.BatchNorm2d(cout)
        if stride > 1 or cin != cout:
            self.downsample = nn.Sequential(
                nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout)
            )

    def forward(self, x):
        y = x if self.frames is None else shifted(x, self.frames)
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(y)))))
        if self.deep:
            y = self.bn3(self.conv3(F.relu(y)))
        return F.relu(y + (self.downsample(x) if hasattr(self, "downsample") else x))


def shifted(x, frames, part=8):
    """TSM on (N * T, C, H, W): Lin et al. 2019, figure 1b, frame by frame."""
    clips = x.unflatten(0, (-1, frames))
    moved, out = x.shape[1] // part, clips.clone()
    for t in range(frames):
        out[:, t, :moved] = clips[:, t + 1, :moved] if t + 1 < frames else 0
        out[:, t, moved : 2 * moved] = clips[:, t - 1, moved : 2 * moved] if t else 0
    return out.flatten(0, 1)


class ImageResNet(nn.Module):
    """torchvision's resnets on images; on frames of clips, with a shift, if given `frames`."""

    def __init__(self, depths, widths=(64, 128, 256, 512), deep=False, classes=1000, frames=None):
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        cin = widths[0]
        for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(ImageBlock(cin, width, 2 if i and not j else 1, deep, frames))
                cin = width * (4 if deep else 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3)))


class CaffeC3D(nn.Module):
    """C3D under the names of its public PyTorch forms: conv1 .. conv5b, fc6, fc7, fc8."""

    def __init__(self, widths=(64, 128, 256, 512, 512), fc=4096, classes=487):
        super().__init__()
        a, b, c, d, e = widths
        self.conv1 = nn.Conv3d(3, a, 3, padding=1)
        self.conv2 = nn.Conv3d(a, b, 3, padding=1)
        self.conv3a, self.conv3b = nn.Conv3d(b, c, 3, padding=1), nn.Conv3d(c, c, 3, padding=1)
        self.conv4a, self.conv4b = nn.Conv3d(c, d, 3, padding=1), nn.Conv3d(d, d, 3, padding=1)
        self.conv5a, self.conv5b = nn.Conv3d(d, e, 3, padding=1), nn.Conv3d(e, e, 3, padding=1)
        self.fc6, self.fc7 = nn.Linear(e * 16, fc), nn.Linear(fc, fc)
        self.fc8 = nn.Linear(fc, classes)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.conv1(x)), (1, 2, 2))
        x = F.max_pool3d(F.relu(self.conv2(x)), 2)
        x = F.max_pool3d(F.relu(self.conv3b(F.relu(self.conv3a(x)))), 2)
        x = F.max_pool3d(F.relu(self.conv4b(F.relu(self.conv4a(x)))), 2)
        x = F.max_pool3d(F.relu(self.conv5b(F.relu(self.conv5a(x)))), 2, ceil_mode=True)
        x = F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))
        return self.fc8(x)


class VolumeBlock(nn.Module):
    """MedicalNet's and Hara's block: conv1, bn1, ...; shortcut A has no weights."""

    def __init__(self, cin, width, stride, dilation, deep, shortcut):
        super().__init__()
        cout, self.deep, self.stride = width * (4 if deep else 1), deep, stride
        three = {"padding": dilation, "dilation": dilation, "bias": False}
        if deep:
            self.conv1 = nn.Conv3d(cin, width, 1, bias=False)
            self.conv2 = nn.Conv3d(width, width, 3, stride, **three)
            self.conv3 = nn.Conv3d(width, cout, 1, bias=False)
            self.bn3 = nn.BatchNorm3d(cout)
        else:
            self.conv1 = nn.Conv3d(cin, width, 3, stride, **three)
            self.conv2 = nn.Conv3d(width, width, 3, **three)
        self.bn1, self.bn2 = nn.BatchNorm3d(width), nn.BatchNorm3d(width)
        self.extra = cout - cin
        if shortcut == "B" and (stride > 1 or cin != cout):
            self.downsample = nn.Sequential(
                nn.Conv3d(cin, cout, 1, stride, bias=False), nn.BatchNorm3d(cout)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.deep:
            y = self.bn3(self.conv3(F.relu(y)))
        if hasattr(self, "downsample"):
            return F.relu(y + self.downsample(x))
        x = F.avg_pool3d(x, 1, self.stride)
        return F.relu(y + torch.cat([x, x.new_zeros(len(x), self.extra, *x.shape[2:])], 1))


class VolumeResNet(nn.Module):
    """MedicalNet's trunk (dilated) or Hara's: stem 7 x 7 x 7, max pool 3 x 3 x 3."""

    def __init__(self, depths, widths, deep, shortcut, dilated, stem_stride, classes=400):
        super().__init__()
        self.conv1 = nn.Conv3d(1, widths[0], 7, stem_stride, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(widths[0])
        strides = (1, 2, 1, 1) if dilated else (1, 2, 2, 2)
        dilations = (1, 1, 2, 4) if dilated else (1, 1, 1, 1)
        cin = widths[0]
        for i in range(4):
            blocks = []
            for j in range(depths[i]):
                stride = 1 if j else strides[i]
                blocks.append(VolumeBlock(cin, widths[i], stride, dilations[i], deep, shortcut))
                cin = widths[i] * (4 if deep else 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.max_pool3d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3, 4)))
