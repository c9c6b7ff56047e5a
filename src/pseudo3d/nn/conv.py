"""3-D convolution that runs as 2-D convolution wherever its kernel is flat in time or in space.

A pseudo-3-D network (Qiu, Yao, Mei, ICCV 2017) is built from 1 x k x k and k x 1 x 1 kernels
only, and both are 2-D convolutions on a view of the same bytes: channels_last_3d of (N, C, T, H,
W) is channels_last of (N * T, C, H, W). The view is faster (3-D dispatch on a CPU rarely reaches
the vector code at batch 1) and it is right where torch's 3-D form is not: see `exact`.
"""

from typing import Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.nn.exact import computes_in_bfloat16, convolve

Triple = tuple[int, int, int]
Padding = Literal["zeros", "replicate"]


def output_length(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of outputs along one axis of a convolution.

    Raises:
        ValueError: the dilated kernel does not fit into the padded axis.
    """
    reach = dilation * (kernel - 1) + 1
    if size + 2 * padding < reach:
        raise ValueError(
            f"axis of length {size} with padding {padding} is shorter than the kernel's reach "
            f"{reach}; give a longer input or a smaller kernel"
        )
    return (size + 2 * padding - reach) // stride + 1


def same_padding(kernel: Triple, dilation: Triple = (1, 1, 1)) -> Triple:
    """Padding that keeps every axis at stride 1.

    Raises:
        ValueError: an even kernel, which has no center and so no such padding.
    """
    for name, value in (("kernel", kernel), ("dilation", dilation)):
        if len(value) != 3:
            raise ValueError(f"{name} {value} has {len(value)} numbers; wanted time, height, width")
    if any(k % 2 == 0 for k in kernel):
        raise ValueError(
            f"kernel {kernel} has an even side: a residual branch needs odd kernels (1, 3, 5, ...) "
            "so that its output lies on its input"
        )
    t, h, w = (d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True))
    return t, h, w


def time_padding(conv: nn.Conv3d) -> tuple[int, int]:
    """Frames that a convolution puts before and after a clip."""
    pad = int(conv.padding[0])
    return (2 * pad, 0) if getattr(conv, "causal", False) else (pad, pad)


def present(conv: nn.Conv3d) -> int:
    """The tap of a temporal kernel that looks at the frame its output lies on."""
    taps = conv.kernel_size[0]
    return taps - 1 if getattr(conv, "causal", False) else taps // 2


class Conv3d(nn.Conv3d):
    """`torch.nn.Conv3d`, executed as a 2-D convolution when the kernel is flat.

    Weights, state dict and results are those of `nn.Conv3d` with weight (O, I, kT, kH, kW).

    Args:
        cin: input channels.
        cout: output channels.
        kernel: (time, height, width).
        stride, padding, dilation: (time, height, width).
        groups: as in `nn.Conv3d`.
        bias: add one value per output channel.
        padding_mode: "zeros", or "replicate" to repeat the border.
        causal: all padding of time comes before the clip, so that output i is made of inputs up to
            stride * i: no output waits for a later frame.
    Shape:
        (N, cin, T, H, W) -> (N, cout, T', H', W'), each axis as `output_length` says.
    Raises:
        ValueError: a kernel, stride or dilation below 1, a negative padding, or a causal kernel
            whose padding of time is not half of its reach.
    """

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: Triple,
        *,
        stride: Triple = (1, 1, 1),
        padding: Triple = (0, 0, 0),
        dilation: Triple = (1, 1, 1),
        groups: int = 1,
        bias: bool = False,
        padding_mode: Padding = "zeros",
        causal: bool = False,
    ) -> None:
        for name, values, least in (
            ("kernel", kernel, 1),
            ("stride", stride, 1),
            ("dilation", dilation, 1),
            ("padding", padding, 0),
        ):
            if len(values) != 3 or min(values) < least:
                raise ValueError(
                    f"{name} is {values!r}; wanted three integers (time, height, width), "
                    f"each at least {least}"
                )
        if padding_mode not in ("zeros", "replicate"):
            raise ValueError(f"padding_mode is {padding_mode!r}; wanted 'zeros' or 'replicate'")
        super().__init__(
            cin, cout, kernel, stride, padding, dilation, groups, bias, padding_mode=padding_mode
        )
        if causal and not 0 < 2 * padding[0] == dilation[0] * (kernel[0] - 1):
            raise ValueError(
                f"a causal kernel {kernel} with padding {padding[0]} of time; wanted half of its "
                "reach, dilation * (kernel - 1) / 2, and more than 0"
            )
        self.pads, self.causal = padding, causal

    def forward(self, x: Float[Tensor, "n c t h w"]) -> Float[Tensor, "n d t2 h2 w2"]:
        (kt, kh, kw), (pt, ph, pw) = self.kernel_size, self.pads
        if self.padding_mode != "zeros" and (pt or ph or pw):
            x = F.pad(x, (pw, pw, ph, ph, *time_padding(self)), mode=self.padding_mode)
            pt = ph = pw = 0
        elif self.causal:
            x, pt = F.pad(x, (0, 0, 0, 0, *time_padding(self))), 0
        if kt == 1 and pt == 0:
            return self._per_frame(x, (ph, pw))
        pieces = kt == self.stride[0] <= x.shape[2] and pt == 0
        if pieces and self.groups == self.dilation[0] == 1:
            return self._per_piece(x, (ph, pw))
        if kh == kw == 1 and ph == pw == 0:
            return self._per_position(x, pt)
        return self._full(x, (pt, ph, pw))

    def _per_frame(self, x: Tensor, padding: tuple[int, int]) -> Tensor:
        """1 x k x k: a 2-D convolution of N * T images."""
        if self.stride[0] > 1:
            x = x[:, :, :: self.stride[0]]
        if self._is_product(x):
            return self._product(x[..., :: self.stride[1], :: self.stride[2]])
        return self._images(x, self.weight.squeeze(2), padding)

    def _is_product(self, x: Tensor) -> bool:
        """Whether a matrix product is faster: many weights, few voxels.

        oneDNN's convolution sorts its weights anew at every call; its product does not. In float32
        the product would be MKL's, which is slower.
        """
        if self.groups > 1 or self.kernel_size != (1, 1, 1) or any(self.pads):
            return False
        few = x[:, 0].numel() <= self.in_channels * self.out_channels // 64
        return few and computes_in_bfloat16(x)

    def _product(self, x: Tensor) -> Tensor:
        """1 x 1 x 1: every voxel's channels times the weights."""
        y = F.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
        return y.permute(0, 4, 1, 2, 3)

    def _per_piece(self, x: Tensor, padding: tuple[int, int]) -> Tensor:
        """Kernel as long as its stride: the frames of a piece become channels of one image."""
        n, c, t, h, w = x.shape
        kt = self.kernel_size[0]
        pieces = x[:, :, : t // kt * kt].reshape(n, c, t // kt, kt, h, w)
        pieces = pieces.transpose(2, 3).reshape(n, c * kt, t // kt, h, w)
        return self._images(pieces, self.weight.flatten(1, 2), padding)

    def _images(self, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
        """2-D convolution of N * T images with a weight (O, I, kH, kW)."""
        n, c, t, h, w = x.shape
        images = x.permute(0, 2, 3, 4, 1).reshape(n * t, h, w, c).permute(0, 3, 1, 2)
        rest = (self.stride[1:], padding, self.dilation[1:], self.groups)
        y = convolve(F.conv2d, images, weight, self.bias, *rest)
        d, h2, w2 = y.shape[1:]
        return y.permute(0, 2, 3, 1).reshape(n, t, h2, w2, d).permute(0, 4, 1, 2, 3)

    def _per_position(self, x: Tensor, padding: int) -> Tensor:
        """k x 1 x 1: a (k, 1) convolution of N images of T rows and H * W columns."""
        st, sh, sw = self.stride
        if sh > 1 or sw > 1:
            x = x[:, :, :, ::sh, ::sw]
        n, c, t, h, w = x.shape
        image = x.permute(0, 2, 3, 4, 1).reshape(n, t, h * w, c).permute(0, 3, 1, 2)
        y = F.conv2d(
            image,
            self.weight.squeeze(3),
            self.bias,
            (st, 1),
            (padding, 0),
            (self.dilation[0], 1),
            self.groups,
        )
        d, t2 = y.shape[1:3]
        return y.permute(0, 2, 3, 1).reshape(n, t2, h, w, d).permute(0, 4, 1, 2, 3)

    def _full(self, x: Tensor, padding: Triple) -> Tensor:
        """Full kernel.

        Where a long kernel with a stride meets a short clip, torch 2.13's weight gradient on the
        CPU writes past its memory, in float32 too; with the frames of padding put there first it
        is right.
        """
        if self._overruns(x, padding[0]):
            x = F.pad(x, (0, 0, 0, 0, padding[0], padding[0]))
            padding = (0, *padding[1:])
        rest = (self.stride, padding, self.dilation, self.groups)
        return convolve(F.conv3d, x, self.weight, self.bias, *rest)

    def _overruns(self, x: Tensor, padding: int) -> bool:
        """Kernels of 7 frames and more, strides above 1, clips up to a frame longer (measured)."""
        long = self.kernel_size[0] > 5 and self.stride[0] > 1
        return long and padding > 0 and x.shape[2] < 2 * self.kernel_size[0]
