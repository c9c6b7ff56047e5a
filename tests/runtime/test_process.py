"""Memory stays with the process, where the C library can be told so."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pseudo3d.runtime.process import free_memory

GROWTH = """
import resource, sys
from pseudo3d.runtime.process import keep_memory
assert keep_memory() or sys.exit(3)
def faults():
    for _ in range(20):
        bytearray(8 << 20)[:: 4096] = bytes(2048)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print(faults() - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_large_blocks_taken_again_cost_no_faults():
    done = subprocess.run(
        [sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(done.stdout) < 200


def test_free_memory_is_some_and_less_than_a_terabyte():
    assert 1 << 20 < free_memory() < 1 << 40


def test_a_containers_limit_counts(monkeypatch):
    files = {"memory.max": str(3 << 20), "memory.current": str(1 << 20)}
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda self, *rest: files.get(self.name) or read(self, *rest)
    )
    assert free_memory() == 2 << 20


def test_a_system_without_the_files_gives_half_of_what_is_built_in(monkeypatch):
    def missing(self):
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", missing)
    assert free_memory() == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
