"""How much memory a network takes to train or to run, found without computing anything.

One step is carried out on tensors without contents (torch's fake mode), and every block of memory
is counted from its creation to its end: weights, what the backward pass keeps, gradients, and what
lives only for a moment. The optimizer's state is added by arithmetic.
"""

import weakref
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network

Precision = Literal["fp32", "bf16"]
# Measured here, see benchmarks/memory.py: torch's code and kernels once they have run, and how much
# larger the C library's heap is than what lives on it, because blocks do not fit into its holes.
_CODE, _FORWARD_CODE, _HOLES = 92 << 20, 40 << 20, 1.6


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes at the fullest moment."""

    weights: int
    gradients: int
    optimizer: int  # its state, and averaged weights
    activations: int  # clips, what the backward pass keeps, what lives for a moment
    code: int  # kernels of torch and oneDNN that are loaded or compiled at first use

    @property
    def total(self) -> int:
        """All of it; what the process grows by."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.code


class _Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own lack
    """Adds up the memory of living tensors, and remembers the most there was."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.now = self.most = 0
        self.known: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.enter(leaf)
        return out

    def enter(self, tensor: Tensor) -> None:
        """Count a tensor's storage until nothing refers to it; views of it cost nothing."""
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self.known:
            return
        size = storage.nbytes()
        self.known[key] = weakref.finalize(storage, self._leave, key, size)
        self.now += size
        self.most = max(self.most, self.now)

    def _leave(self, key: int, size: int) -> None:
        del self.known[key]
        self.now -= size


def forecast(
    net: Network,
    batch: int,
    frames: int,
    size: int,
    precision: Precision = "fp32",
    train: bool = True,
    *,
    checkpointing: bool = False,
    states: int = 3,
) -> Memory:
    """Memory of one step on `batch` clips of `frames` x `size` x `size`; `net` is left as it is.

    Args:
        train: forward and backward pass; False: the forward pass alone.
        states: copies of the weights beside them: 1 for SGD with momentum, 2 for AdamW, one more
            for averaged weights.
    Raises:
        ValueError: less than one clip, frame or pixel.
    """
    if min(batch, frames, size) < 1:
        raise ValueError(f"batch is {batch}, frames {frames}, size {size}; wanted at least 1 each")
    with FakeTensorMode(), torch.device("cpu"):
        shadow = _shadow(net).train(train)
        shadow.checkpointing = checkpointing
        tensors = [*shadow.parameters(), *shadow.buffers()]
        with _Ledger() as ledger, torch.set_grad_enabled(train):
            for tensor in tensors:  # known before, or views of them would count
                ledger.enter(tensor)
            _step(shadow, torch.empty(batch, net.cfg.in_channels, frames, size, size), precision)
    weights = sum(x.nbytes for x in tensors)
    gradients = sum(p.nbytes for p in shadow.parameters()) if train else 0
    return Memory(
        weights=weights,
        gradients=gradients,
        optimizer=states * gradients,
        activations=max(0, int(_HOLES * (ledger.most - weights)) - gradients),
        code=_CODE if train else _FORWARD_CODE,
    )


def _step(net: Network, clips: Tensor, precision: Precision) -> None:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        logits = net(clips)
    if logits.requires_grad:
        logits.float().sum().backward()


def _shadow(net: Network) -> Network:
    """A copy whose tensors have no contents."""
    hollow: dict[int, Any] = {}
    for x in [*net.parameters(), *net.buffers()]:
        like = torch.empty(x.shape, dtype=x.dtype)
        if x.ndim == 5:
            like = like.contiguous(memory_format=torch.channels_last_3d)
        hollow[id(x)] = nn.Parameter(like) if isinstance(x, nn.Parameter) else like
    return deepcopy(net, hollow)


def largest_batch(need: Callable[[int], int], clips: int, room: int) -> int:
    """The largest part of `clips` that goes into them without rest and needs at most `room` bytes.

    Raises:
        Pseudo3dError: even one clip needs more.
    """
    for batch in (b for b in range(clips, 0, -1) if clips % b == 0):
        if need(batch) <= room:
            return batch
    raise Pseudo3dError(
        f"one clip needs {need(1) >> 20} MiB and {room >> 20} MiB are free; make the clip smaller "
        "(--frames, --size), set checkpointing=true, or take a smaller network"
    )
