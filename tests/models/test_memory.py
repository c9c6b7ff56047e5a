"""The forecast of memory against arithmetic, against real tensors and against real processes."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from pseudo3d.errors import Pseudo3dError
from pseudo3d.models import create_model
from pseudo3d.models.memory import _HOLES, _Ledger, forecast, largest_batch
from pseudo3d.nn.blocks import Bottleneck


def net(**options):
    torch.manual_seed(0)
    return create_model("p3d_nano", widths=(8, 8, 8, 8), stem_width=8, num_classes=3, **options)


def test_the_ledger_counts_what_lives_and_views_once():
    with _Ledger() as ledger:
        x = torch.zeros(1000)
        y = x.view(10, 100)[2:]
        z = x + 1
        assert ledger.now == 8000
        del x, z
        assert ledger.now == 4000, "the view keeps its storage"
        del y
    assert (ledger.now, ledger.most) == (0, 8000)


def test_weights_gradients_and_state_are_arithmetic():
    model = net()
    size = 4 * sum(p.numel() for p in model.parameters())
    need = forecast(model, 1, 4, 16, states=2)
    assert need.gradients == size
    assert need.optimizer == 2 * size
    assert need.weights == sum(x.nbytes for x in [*model.parameters(), *model.buffers()])
    parts = need.weights + need.gradients + need.optimizer + need.activations + need.code
    assert need.total == parts
    alone = forecast(model, 1, 4, 16, train=False)
    assert (alone.gradients, alone.optimizer) == (0, 0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_shadow_step_takes_what_a_real_one_takes(precision):
    model = net().to(memory_format=torch.channels_last_3d)
    clips = torch.zeros(4, 3, 4, 32, 32)
    tensors = [*model.parameters(), *model.buffers()]
    with _Ledger() as ledger:
        for tensor in [*tensors, clips]:
            ledger.enter(tensor)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = model(clips)
        logits.float().sum().backward()
    weights = sum(x.nbytes for x in tensors)
    grads = sum(p.nbytes for p in model.parameters())
    need = forecast(model, 4, 4, 32, precision)
    assert need.activations == pytest.approx(_HOLES * (ledger.most - weights) - grads, rel=0.02)


def test_more_clips_take_more_and_bfloat16_and_no_backward_pass_less():
    model = net()
    one, two = (forecast(model, batch, 8, 32).activations for batch in (8, 16))
    assert 1.9 < two / one < 2.1
    assert forecast(model, 16, 8, 32, "bf16").activations < 0.7 * two
    assert forecast(model, 16, 8, 32, train=False).activations < 0.5 * two


def test_checkpointing_takes_less_where_a_stage_has_several_blocks():
    deep = create_model("p3d50", depths=(8, 1, 1, 1), widths=(8,) * 4, stem_width=8)
    plain, doubled = (forecast(deep, 4, 8, 32, checkpointing=on) for on in (False, True))
    assert doubled.activations < 0.65 * plain.activations


def test_the_network_is_left_as_it_is():
    model = net().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    forecast(model, 1, 4, 16, checkpointing=True)
    assert not model.training
    assert not model.checkpointing
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="batch is 0"):
        forecast(net(), 0, 4, 16)


@pytest.mark.parametrize(("room", "batch"), [(1000, 12), (119, 6), (60, 6), (59, 4), (10, 1)])
def test_the_largest_batch_divides_the_clips_of_a_step(room, batch):
    assert largest_batch(lambda clips: 10 * clips, 12, room) == batch


def test_too_little_room_for_one_clip_is_said():
    with pytest.raises(Pseudo3dError, match="one clip needs 10 MiB and 5 MiB are free"):
        largest_batch(lambda clips: clips * (10 << 20), 4, 5 << 20)


# --- gradient checkpointing


@pytest.mark.parametrize("frozen", [False, True])
def test_checkpointing_changes_neither_gradients_nor_statistics(frozen):
    """Batch norm sees each block twice and counts it once."""
    plain, doubled = net().double(), net().double()
    doubled.checkpointing = True
    clips = torch.randn(4, 3, 4, 16, 16, dtype=torch.float64)
    for model in (plain, doubled):
        model.dropout.p = 0.0
        model.train()
        if frozen:
            model.stages[1][0].pair.space_norm.eval()
        model(clips).square().sum().backward()
    assert_close(doubled.state_dict(), plain.state_dict(), rtol=0, atol=0)
    for one, other in zip(doubled.parameters(), plain.parameters(), strict=True):
        assert_close(one.grad, other.grad)
    norms = [m for m in doubled.modules() if isinstance(m, nn.BatchNorm3d)]
    assert {m.momentum for m in norms} == {0.1}


def test_checkpointing_keeps_only_what_enters_a_block():
    model = create_model("p3d50", depths=(2, 1, 1, 1), widths=(8, 8, 8, 8), stem_width=8)
    model.checkpointing = True
    runs = []
    for block in model.modules():
        if isinstance(block, Bottleneck):
            block.register_forward_pre_hook(lambda *_: runs.append(1))
    model(torch.randn(2, 3, 8, 32, 32)).sum().backward()
    assert len(runs) == 2 * 5
    runs.clear()
    with torch.no_grad():
        model(torch.randn(2, 3, 8, 32, 32))
    assert len(runs) == 5, "nothing is computed twice without gradients"


# --- real processes

STEP = """
import torch
from pseudo3d.runtime.process import keep_memory
from pseudo3d.models import create_model
keep_memory()
torch.set_num_threads(1)
def most():
    lines = open("/proc/self/status")
    return next(int(l.split()[1]) for l in lines if l.startswith("VmHWM"))
before = most()
net = create_model("{name}").to(memory_format=torch.channels_last_3d)
optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
clips = torch.zeros({batch}, 3, 16, {size}, {size})
for _ in range(3):
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled="{precision}" == "bf16"):
        loss = net(clips).float().sum()
    loss.backward()
    optimizer.step()
print((most() - before) << 10)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "batch", "size"), [("p3d50", 4, 112), ("p3d_tiny", 16, 64)])
def test_the_forecast_is_within_15_percent_of_a_real_process(name, batch, size, precision):
    code = STEP.format(name=name, batch=batch, size=size, precision=precision)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    need = forecast(create_model(name), batch, 16, size, precision, states=1)
    assert need.total == pytest.approx(int(done.stdout), rel=0.15)
