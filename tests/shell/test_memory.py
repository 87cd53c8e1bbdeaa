"""One heap for all threads, and what it has free given back, where there is a way to ask for it."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from scheduler.machine.memory import give_back, share_one_heap

# Holes of 40 KiB between blocks that stay: what glibc keeps until it is asked.
HOLES = """
import ctypes
from scheduler.machine.memory import give_back
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
def resident():
    return int(open("/proc/self/statm").read().split()[1])
blocks = [libc.malloc(40_000) for _ in range(2_000)]
for block in blocks:
    ctypes.memset(block, 1, 40_000)
for n, block in enumerate(blocks):
    if n % 20:
        libc.free(block)
full = resident()
give_back()
print(resident() / full)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked")
def test_what_lies_free_between_what_is_used_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.6


def test_where_the_c_library_cannot_be_asked_for_one_heap_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def library(name: object) -> object:
        asked.append(name)
        return object()

    monkeypatch.setattr(ctypes, "CDLL", library)
    share_one_heap()
    give_back()
    assert asked == [None, None]
