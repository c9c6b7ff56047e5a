"""OpenVINO's core, of which a process has one that stays."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from pseudo3d.runtime.openvino import one_core, openvino_core

openvino = pytest.importorskip("openvino")

FREED_ELSEWHERE = """
import os, signal
from threading import Thread

import numpy as np
from pseudo3d.runtime.openvino import compile_options, openvino_core
import openvino as ov
import openvino.opset13 as ops

x = ops.parameter([1, 3], np.float32)
mine = [openvino_core().compile_model(ov.Model([ops.relu(x)], [x]), "CPU", compile_options())]
other = Thread(target=mine.clear)
other.start()
other.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
print("alive")
"""


def test_a_signal_is_handled_after_another_thread_freed_a_network():
    done = subprocess.run([sys.executable, "-c", FREED_ELSEWHERE], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr


def test_threads_share_one_core():
    with ThreadPoolExecutor(4) as pool:
        cores = list(pool.map(lambda _: openvino_core(), range(8)))
    assert all(core is cores[0] for core in cores)


def test_libraries_get_the_one_core_as_well(monkeypatch):
    class Recorded:
        def compile_model(self, *args):
            return "compiled by the one core"

    monkeypatch.setattr("pseudo3d.runtime.openvino._core", Recorded)
    its = openvino.Core
    with one_core():
        assert isinstance(openvino.Core(), Recorded)
        assert openvino.compile_model(None) == "compiled by the one core"
    assert openvino.Core is its
