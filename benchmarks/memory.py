"""Forecast of a training step's memory against what a fresh process grew by.

    python benchmarks/memory.py

Each case runs in a process of its own: three steps with SGD, the peak resident size less the size
before the network was built. Rows go to results/memory.csv.
"""

import subprocess
import sys

from pseudo3d.models import create_model
from pseudo3d.models.memory import Precision, forecast
from record import record

CASES = (("p3d50", 4, 16, 112), ("p3d_tiny", 16, 16, 64), ("p3d_tiny", 4, 16, 64))
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
STEP = """
import torch
from pseudo3d.runtime.process import keep_memory
from pseudo3d.models import create_model
keep_memory()
torch.set_num_threads(1)
def most():
    lines = open("/proc/self/status")
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
before = most()
net = create_model("{name}").to(memory_format=torch.channels_last_3d)
net.checkpointing = {checkpointing}
optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
clips = torch.zeros({batch}, 3, {frames}, {size}, {size})
for _ in range(3):
    optimizer.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled="{precision}" == "bf16"):
        loss = net(clips).float().sum()
    loss.backward()
    optimizer.step()
print((most() - before) << 10)
"""


def grown(**case: object) -> int:
    """Bytes a fresh process grew by."""
    line = [sys.executable, "-c", STEP.format(**case)]
    return int(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print and keep one row per case."""
    for name, batch, frames, size in CASES:
        for precision in PRECISIONS:
            for doubled in (False, True):
                case = {"name": name, "batch": batch, "frames": frames, "size": size}
                case |= {"precision": precision, "checkpointing": doubled}
                net = create_model(name)
                need = forecast(
                    net, batch, frames, size, precision, checkpointing=doubled, states=1
                )
                was = grown(**case)
                row = {
                    **case,
                    "forecast_mib": need.total >> 20,
                    "measured_mib": was >> 20,
                    "ratio": round(need.total / was, 3),
                }
                record("memory", row)
                print("\t".join(map(str, row.values())), flush=True)


if __name__ == "__main__":
    main()
