"""2-D networks of many kinds, each in a few lines after its paper, narrow and shallow.

What counts is how they are written: shared and in-place activations, functional pooling, views,
permutes, odd kernels, groups, dilation, several outputs. `CONVERTIBLE` and `REFUSED` list them.
"""

import torch
import torch.nn.functional as F
from torch import nn


def unit(cin, cout, k=3, stride=1, groups=1, act=nn.ReLU, dilation=1, pad=None):
    """Convolution, batch norm, activation."""
    kernel = (k, k) if isinstance(k, int) else k
    pad = tuple(dilation * (side - 1) // 2 for side in kernel) if pad is None else pad
    conv = nn.Conv2d(cin, cout, kernel, stride, pad, dilation, groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(cout), *([act()] if act else []))


def top(width, classes=5):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


class Residual(nn.Module):
    """y + shortcut(x), with one in-place activation module used everywhere."""

    def __init__(self, body, shortcut=None, act=None):
        super().__init__()
        self.body, self.shortcut, self.act = body, shortcut, act

    def forward(self, x):
        y = self.body(x) + (x if self.shortcut is None else self.shortcut(x))
        return y if self.act is None else self.act(y)


class BasicBlock(nn.Module):
    """He et al., CVPR 2016, under torchvision's names: a ReLU module called twice."""

    def __init__(self, cin, cout, stride=1, norm=nn.BatchNorm2d):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1, self.bn2 = norm(cout), norm(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride > 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), norm(cout))

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """torchvision's forward: torch.flatten between the pool and the classifier."""

    def __init__(self, *blocks, stem=8, width=16):
        super().__init__()
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(stem), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layers = nn.Sequential(*blocks)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d((1, 1)), nn.Linear(width, 5)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.fc(torch.flatten(self.avgpool(self.layers(x)), 1))


def resnet_basic():
    return ResNet(BasicBlock(8, 8), BasicBlock(8, 16, 2), BasicBlock(16, 16))


def bottleneck(cin, width, stride=1, groups=1, expand=4, scale=None):
    body = [unit(cin, width, 1), unit(width, width, 3, stride, groups)]
    body += [scale(width)] if scale else []
    out = width * expand
    short = None if stride == 1 and cin == out else unit(cin, out, 1, stride, act=None)
    return Residual(nn.Sequential(*body, unit(width, out, 1, act=None)), short, nn.ReLU(True))


def resnet_bottleneck():
    return ResNet(bottleneck(8, 4), bottleneck(16, 8, 2), bottleneck(32, 8), width=32)


def resnext():
    return ResNet(bottleneck(8, 8, groups=4, expand=2), bottleneck(16, 16, 2, 4, 2), width=32)


class SqueezeExcite(nn.Module):
    """Hu et al., CVPR 2018."""

    def __init__(self, width, gate=nn.Sigmoid):
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)
        self.gate = gate()

    def forward(self, x):
        return x * self.gate(self.up(F.relu(self.down(x.mean((2, 3), keepdim=True)))))


def regnet():
    """RegNetY, Radosavovic et al., CVPR 2020."""
    blocks = [bottleneck(8, 8, 2, 2, 1, SqueezeExcite), bottleneck(8, 16, 2, 4, 1, SqueezeExcite)]
    return nn.Sequential(unit(3, 8, 3, 2), *blocks, top(16))


class Vgg(nn.Module):
    """Simonyan and Zisserman, ICLR 2015: no norm, three classifier layers, view."""

    def __init__(self):
        super().__init__()
        layers = []
        for cin, cout in ((3, 8), (8, 16), (16, 16)):
            layers += [nn.Conv2d(cin, cout, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2, 2)]
        self.features, self.avgpool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d((3, 3))
        self.classifier = nn.Sequential(
            nn.Linear(144, 24), nn.ReLU(True), nn.Dropout(), nn.Linear(24, 5)
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


class AlexNet(nn.Module):
    """Krizhevsky et al., NIPS 2012: functional pooling, a size that must be 224, local norm."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 11, 4, 2)
        self.conv2 = nn.Conv2d(8, 12, 5, padding=2, groups=2)
        self.conv3, self.fc = nn.Conv2d(12, 8, 3, padding=1), nn.Linear(8 * 6 * 6, 5)
        self.norm = nn.LocalResponseNorm(5)

    def forward(self, x):
        x = F.max_pool2d(self.norm(F.relu(self.conv1(x))), 3, 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 3, 2)
        x = F.max_pool2d(F.relu(self.conv3(x)), 3, 2)
        return self.fc(F.dropout(x.reshape(len(x), 288), training=self.training))


class LeNet(nn.Module):
    """LeCun et al., 1998: 28 x 28 gray digits, no padding."""

    def __init__(self):
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc = nn.Linear(16 * 4 * 4, 5)

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.c1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.c2(x)), 2)
        return self.fc(x.view(-1, 256))


class DenseLayer(nn.Module):
    """Huang et al., CVPR 2017: norm before convolution, outputs concatenated."""

    def __init__(self, cin, grow=6):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, 12, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(12), nn.Conv2d(12, grow, 3, 1, 1, bias=False)

    def forward(self, seen):
        y = self.conv1(F.relu(self.norm1(torch.cat(seen, 1))))
        return self.conv2(F.relu(self.norm2(y)))


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = unit(3, 8, 7, 2)
        self.layers = nn.ModuleList([DenseLayer(8), DenseLayer(14), DenseLayer(20)])
        self.transition = nn.Sequential(nn.BatchNorm2d(26), nn.Conv2d(26, 12, 1), nn.AvgPool2d(2))
        self.last, self.fc = DenseLayer(12), nn.Linear(18, 5)

    def forward(self, x):
        seen = [self.stem(x)]
        for layer in self.layers:
            seen.append(layer(seen))
        x = self.transition(torch.cat(seen, 1))
        x = F.relu(torch.cat([x, self.last([x])], 1))
        return self.fc(F.adaptive_avg_pool2d(x, (1, 1)).flatten(1))


def mobilenet_v1():
    """Howard et al., 2017."""
    pairs = [(8, 16, 1), (16, 24, 2), (24, 24, 1)]
    body = [nn.Sequential(unit(i, i, 3, s, groups=i), unit(i, o, 1)) for i, o, s in pairs]
    return nn.Sequential(unit(3, 8, 3, 2), *body, top(24))


def inverted(cin, cout, stride=1, act=nn.ReLU6, k=3, scale=None, expand=3):
    """MobileNet v2's block, Sandler et al., CVPR 2018."""
    wide = cin * expand
    body = [unit(cin, wide, 1, act=act), unit(wide, wide, k, stride, wide, act)]
    body += [scale(wide)] if scale else []
    body = nn.Sequential(*body, unit(wide, cout, 1, act=None))
    return Residual(body) if stride == 1 and cin == cout else body


def mobilenet_v2():
    return nn.Sequential(
        unit(3, 8, 3, 2, act=nn.ReLU6),
        inverted(8, 8),
        inverted(8, 12, 2),
        inverted(12, 12),
        top(12),
    )


class HardExcite(SqueezeExcite):
    def __init__(self, width):
        super().__init__(width, nn.Hardsigmoid)


def mobilenet_v3():
    """Howard et al., ICCV 2019: hard swish, squeeze-excite, a classifier that is not linear."""
    act = nn.Hardswish
    body = [inverted(8, 8, 1, act, 5, HardExcite), inverted(8, 12, 2, act, 5, HardExcite)]
    head = [nn.Linear(12, 20), act(), nn.Dropout(0.2), nn.Linear(20, 5)]
    return nn.Sequential(
        unit(3, 8, 3, 2, act=act), *body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), *head
    )


def efficientnet():
    """Tan and Le, ICML 2019."""
    body = [
        inverted(8, 8, 1, nn.SiLU, 3, SqueezeExcite),
        inverted(8, 12, 2, nn.SiLU, 5, SqueezeExcite),
    ]
    return nn.Sequential(
        unit(3, 8, 3, 2, act=nn.SiLU), *body, unit(12, 24, 1, act=nn.SiLU), top(24)
    )


class ConvNeXtBlock(nn.Module):
    """Liu et al., CVPR 2022: depthwise 7 x 7, channels last inside."""

    def __init__(self, width):
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.5))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class LayerNorm2d(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 4, 4), LayerNorm2d(8))
        self.down = nn.Sequential(LayerNorm2d(8), nn.Conv2d(8, 16, 2, 2))
        self.one, self.two = ConvNeXtBlock(8), ConvNeXtBlock(16)
        self.norm, self.head = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.two(self.down(self.one(self.stem(x))))
        return self.head(self.norm(x.mean([-2, -1])))


class Shuffle(nn.Module):
    """ShuffleNet v2's block, Ma et al., ECCV 2018: split, concatenate, shuffle by view."""

    def __init__(self, width):
        super().__init__()
        half = width // 2
        self.branch = nn.Sequential(
            unit(half, half, 1), unit(half, half, 3, 1, half, None), unit(half, half, 1)
        )

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        y = torch.cat((left, self.branch(right)), 1)
        n, c, h, w = y.size()
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def shufflenet():
    return nn.Sequential(
        unit(3, 16, 3, 2), nn.MaxPool2d(3, 2, 1), Shuffle(16), Shuffle(16), top(16)
    )


class Inception(nn.Module):
    """Szegedy et al., CVPR 2016: 1 x 7 and 7 x 1 kernels, a pooled branch, concatenation."""

    def __init__(self, cin):
        super().__init__()
        self.one = unit(cin, 6, 1)
        self.seven = nn.Sequential(unit(cin, 6, 1), unit(6, 6, (1, 7)), unit(6, 6, (7, 1)))
        self.wide = nn.Sequential(unit(cin, 4, 1), unit(4, 6, (1, 3)))
        self.pool = unit(cin, 6, 1)

    def forward(self, x):
        pooled = F.avg_pool2d(x, 3, 1, 1)
        return torch.cat([self.one(x), self.seven(x), self.wide(x), self.pool(pooled)], 1)


class Reduction(nn.Module):
    def __init__(self, cin):
        super().__init__()
        self.conv, self.pool = unit(cin, 8, 3, 2, pad=0), nn.MaxPool2d(3, 2)

    def forward(self, x):
        return torch.cat([self.conv(x), self.pool(x)], 1)


def inception_v3():
    return nn.Sequential(
        unit(3, 8, 3, 2, pad=0), unit(8, 12, 3, pad=0), Inception(12), Reduction(24), top(32)
    )


class GoogLeNet(nn.Module):
    """Szegedy et al., CVPR 2015: a second answer while it trains, ceil pooling."""

    def __init__(self):
        super().__init__()
        self.stem, self.pool = unit(3, 8, 7, 2), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.a = nn.ModuleList([unit(8, 4, 1), unit(8, 6, 3), unit(8, 4, 5)])
        self.b = nn.ModuleList([unit(14, 4, 1), unit(14, 6, 3), unit(14, 4, 5)])
        self.aux, self.fc = top(14), nn.Linear(14, 5)

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = torch.cat([branch(x) for branch in self.a], 1)
        aux = self.aux(x) if self.training else None
        x = torch.cat([branch(x) for branch in self.b], 1)
        y = self.fc(x.mean((-1, -2)))
        return (y, aux) if self.training else y


class Fire(nn.Module):
    """SqueezeNet, Iandola et al., 2016."""

    def __init__(self, cin, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(cin, squeeze, 1)
        self.e1, self.e3 = nn.Conv2d(squeeze, expand, 1), nn.Conv2d(squeeze, expand, 3, padding=1)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.e1(x)), self.act(self.e3(x))], 1)


def squeezenet():
    """Its classifier is a convolution."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.ReLU(True), nn.MaxPool2d(3, 2, ceil_mode=True),
        Fire(8, 4, 8), Fire(16, 4, 8), nn.Dropout(), nn.Conv2d(16, 5, 1), nn.ReLU(True),
        nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(),
    )  # fmt: skip


class UNet(nn.Module):
    """Ronneberger et al., MICCAI 2015: skips, transposed convolution and interpolation; maps."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = unit(3, 8), unit(8, 12), unit(12, 16)
        self.up1, self.up2 = nn.ConvTranspose2d(16, 12, 2, 2), nn.Conv2d(12, 8, 1)
        self.d, self.e, self.out = unit(24, 12), unit(16, 8), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        y = self.d(torch.cat([self.up1(c), b], 1))
        y = F.interpolate(self.up2(y), size=a.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(self.e(torch.cat([y, a], 1)))


class DeepLab(nn.Module):
    """Chen et al., 2017: dilated branches, image pooling, a dict of maps."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(unit(3, 8, 3, 2), unit(8, 12, 3, 2))
        self.rates = nn.ModuleList([unit(12, 6, 3, dilation=rate) for rate in (1, 2, 4)])
        self.pooled, self.out = nn.Conv2d(12, 6, 1), nn.Conv2d(24, 3, 3, padding=1)

    def forward(self, x):
        y = self.body(x)
        image = F.relu(self.pooled(F.adaptive_avg_pool2d(y, 1))).expand(-1, -1, *y.shape[2:])
        y = self.out(torch.cat([*(rate(y) for rate in self.rates), image], 1))
        return {"out": F.interpolate(y, x.shape[-2:], mode="bilinear", align_corners=False)}


def padded_same():
    """padding="same" with even, odd and dilated kernels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding="same"), nn.ReLU(), nn.Conv2d(8, 8, 4, padding="same"),
        nn.ReLU(), nn.Conv2d(8, 8, (3, 5), padding="same", dilation=2), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding="valid"), nn.ReLU(), top(8),
    )  # fmt: skip


def padded_around():
    """Circular, reflected and replicated borders, strides that differ."""

    def conv(mode, stride):
        return nn.Conv2d(8, 8, 3, stride, 1, padding_mode=mode)

    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), conv("circular", 1), nn.ReLU(),
        conv("reflect", (2, 1)), nn.ReLU(), conv("replicate", (1, 2)), nn.ReLU(), top(8),
    )  # fmt: skip


def group_norm():
    def norm(width):
        return nn.GroupNorm(4, width)

    return ResNet(BasicBlock(8, 8, 1, norm), BasicBlock(8, 16, 2, norm))


def instance_norm():
    def norm(width):
        return nn.InstanceNorm2d(width, affine=True)

    return ResNet(BasicBlock(8, 8, 1, norm), BasicBlock(8, 16, 2, norm))


class AttentionPool(nn.Module):
    """Pooling by one learned query over all positions (CLIP's ResNets pool alike)."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(unit(3, 8, 3, 2), unit(8, 16, 3, 2))
        self.query, self.fc = nn.Parameter(torch.randn(16)), nn.Linear(16, 5)

    def forward(self, x):
        x = self.body(x).flatten(2)
        weight = torch.softmax(torch.einsum("c,ncl->nl", self.query, x) / 4, -1)
        return self.fc(torch.einsum("nl,ncl->nc", weight, x))


class VisionTransformer(nn.Module):
    """Dosovitskiy et al., ICLR 2021, with torch's own attention."""

    def __init__(self, batch_first=True):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 16, 16)
        self.cls = nn.Parameter(torch.randn(1, 1, 16))
        self.pos = nn.Parameter(torch.randn(1, 17, 16))
        self.batch_first, rest = batch_first, {"batch_first": batch_first, "norm_first": True}
        self.blocks = nn.ModuleList(
            [nn.TransformerEncoderLayer(16, 4, 32, 0.0, **rest) for _ in range(3)]
        )
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1) + self.pos
        x = x if self.batch_first else x.transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0] if self.batch_first else x[0])


class Recurrent(nn.Module):
    """CRNN, Shi et al., 2015: an LSTM over the columns of a map."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(unit(3, 8, 3, 2), unit(8, 12, 3, 2))
        self.lstm, self.fc = nn.LSTM(12, 10, batch_first=True), nn.Linear(10, 5)

    def forward(self, x):
        columns = self.body(x).mean(2).transpose(1, 2)
        return self.fc(self.lstm(columns)[0][:, -1])


class Siamese(nn.Module):
    """One tower twice, with shared weights, on the picture and its mirror image."""

    def __init__(self):
        super().__init__()
        self.tower = nn.Sequential(unit(3, 8, 3, 2), unit(8, 12, 3, 2), nn.AdaptiveMaxPool2d(2))
        self.fc = nn.Linear(48, 5)

    def forward(self, x):
        return self.fc(self.tower(x).flatten(1) + self.tower(x.flip(-1)).flatten(1))


def weight_normed():
    """Salimans and Kingma, 2016, by torch's parametrizations: convolutions of another class."""
    norm = nn.utils.parametrizations.weight_norm
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), norm(nn.Conv2d(8, 8, 3, padding=1)), nn.ReLU(), top(8)
    )


class Branching(nn.Module):
    """Leaves early where a batch looks easy: a decision by values."""

    def __init__(self):
        super().__init__()
        self.a, self.b = unit(3, 8, 3, 2), unit(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        x = self.a(x)
        if x.mean() < 1e6:
            x = self.b(x)
        return self.fc(x.mean((2, 3)))


class SequenceFirst(Recurrent):
    """Answers (W, N, K), as CTC losses want it: images are not the first axis."""

    def forward(self, x):
        columns = self.body(x).mean(2).transpose(1, 2)
        return self.fc(self.lstm(columns)[0]).transpose(0, 1)


class Swin(nn.Module):
    """Liu et al., ICCV 2021, by its windows: attention written by hand, only one convolution."""

    def __init__(self):
        super().__init__()
        self.patch, self.qkv = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 48)
        self.head = nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x)
        n, c, h, w = x.shape
        x = x.view(n, c, h // 4, 4, w // 4, 4).permute(0, 2, 4, 3, 5, 1).reshape(-1, 16, c)
        q, k, v = self.qkv(x).chunk(3, -1)
        x = F.scaled_dot_product_attention(q, k, v).reshape(n, -1, c)
        return self.head(x.mean(1))


class Windows(nn.Module):
    """Cuts images into tiles and convolves them as a batch of their own."""

    def __init__(self):
        super().__init__()
        self.stem, self.tiles, self.fc = unit(3, 8, 3, 2), unit(8, 8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        x = (
            x.view(n, c, 2, h // 2, 2, w // 2)
            .permute(0, 2, 4, 1, 3, 5)
            .reshape(-1, c, h // 2, w // 2)
        )
        return self.fc(self.tiles(x).mean((2, 3)).view(n, 4, 8).mean(1))


def batch_statistics():
    """Batch norm that keeps no statistics: every image changes every other's answer."""
    norm = nn.BatchNorm2d(8, track_running_stats=False)
    return nn.Sequential(unit(3, 8, 3, 2), nn.Conv2d(8, 8, 3, padding=1), norm, nn.ReLU(), top(8))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 5)

    def forward(self, x):
        return self.fc(x.flatten(1))


CONVERTIBLE = {
    "LeNet": LeNet,
    "AlexNet": AlexNet,
    "VGG": Vgg,
    "GoogLeNet": GoogLeNet,
    "Inception v3": inception_v3,
    "ResNet, basic blocks": resnet_basic,
    "ResNet, bottlenecks": resnet_bottleneck,
    "ResNeXt": resnext,
    "RegNet Y": regnet,
    "DenseNet": DenseNet,
    "SqueezeNet": squeezenet,
    "MobileNet v1": mobilenet_v1,
    "MobileNet v2": mobilenet_v2,
    "MobileNet v3": mobilenet_v3,
    "EfficientNet": efficientnet,
    "ShuffleNet v2": shufflenet,
    "ConvNeXt": ConvNeXt,
    "U-Net": UNet,
    "DeepLab v3": DeepLab,
    "padding='same'": padded_same,
    "circular, reflected borders": padded_around,
    "GroupNorm ResNet": group_norm,
    "InstanceNorm ResNet": instance_norm,
    "attention pooling": AttentionPool,
    "LSTM over columns": Recurrent,
    "shared tower": Siamese,
    "weight norm": weight_normed,
    "Vision transformer": VisionTransformer,
    "Vision transformer, batch second": lambda: VisionTransformer(batch_first=False),
}
REFUSED = {
    "Swin transformer": Swin,
    "tiles as a batch": Windows,
    "decision by values": Branching,
    "answer with the batch second": SequenceFirst,
    "MLP": MLP,
}
NOT_EXACT = {"batch norm without statistics": batch_statistics}


def draw(make, seed=0):
    """A network of the battery whose weights and statistics are far from trivial, in eval mode."""
    torch.manual_seed(seed)
    net = make().eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d) and m.running_var is not None:
            nn.init.uniform_(m.weight, 0.6, 1.4)
            nn.init.uniform_(m.bias, -0.2, 0.2)
            nn.init.uniform_(m.running_mean, -0.2, 0.2)
            nn.init.uniform_(m.running_var, 0.3, 1.2)
    return net
