"""Disks that can be filled and freed, made read-only, or break, under a process that has files open there.

They need the right to mount. Where that is not to be had a test is skipped, and its reason says so: run as root, or
in a container with CAP_SYS_ADMIN, to have them all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

SIZE = "8m"


def mount(*args: str | Path) -> None:
    """Skips the test where this process may not mount."""
    if shutil.which("mount") is None:
        pytest.skip("needs mount(8), and there is none")
    found = subprocess.run(["mount", *map(str, args)], capture_output=True, text=True, close_fds=False)
    if found.returncode:
        pytest.skip(f"needs the right to mount (root with CAP_SYS_ADMIN): {found.stderr.strip().splitlines()[0]}")


def unmount(folder: Path) -> None:
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


class Disk:
    """A tmpfs."""

    def __init__(self, folder: Path, size: str = SIZE) -> None:
        self.folder = folder
        folder.mkdir()
        mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
        self._ballast = folder / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Until nothing more goes in, or all but `leave` bytes."""
        with self._ballast.open("ab", buffering=0) as file:
            with contextlib.suppress(OSError):
                while file.write(bytes(65_536)):
                    pass
            with contextlib.suppress(OSError):
                while file.write(bytes(4096)):
                    pass
        if leave:
            os.truncate(self._ballast, max(0, self._ballast.stat().st_size - leave))

    def free(self) -> None:
        self._ballast.unlink(missing_ok=True)

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        self.fill()
        try:
            yield
        finally:
            self.free()

    @contextlib.contextmanager
    def read_only(self) -> Iterator[None]:
        """For every file that is opened from now on. Only where nobody writes is the whole of it made read-only."""
        aside = self.folder.with_name(self.folder.name + ".read-only")
        aside.mkdir(exist_ok=True)
        mount("--bind", self.folder, aside)
        try:  # made read-only where nobody can have opened a file yet
            mount("-o", "remount,bind,ro", aside)
            mount("--bind", aside, self.folder)
        finally:
            unmount(aside)
        try:
            yield
        finally:
            unmount(self.folder)

    def close(self) -> None:
        unmount(self.folder)


class Breaking:
    """An ext4 that turns read-only by itself, as it does after an error of its disk: also for files that are open."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image = folder.with_name("image")
        folder.mkdir()
        if shutil.which("mkfs.ext4") is None:
            pytest.skip("needs mkfs.ext4, and there is none")
        self._image.touch()
        os.truncate(self._image, 24 * 1024 * 1024)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self.mount()

    def mount(self) -> None:
        mount("-o", "loop,errors=remount-ro", self._image, self.folder)
        self._knob = Path("/sys/fs/ext4") / self._device() / "trigger_fs_error"
        if not self._knob.exists():
            unmount(self.folder)
            pytest.skip("needs a kernel whose ext4 can be told to fail (trigger_fs_error)")

    def _device(self) -> str:
        for line in Path("/proc/mounts").read_text().splitlines():
            device, folder, *_ = line.split()
            if folder == str(self.folder):
                return Path(device).name
        raise AssertionError(f"{self.folder} is not mounted")

    def fail(self) -> None:
        self._knob.write_text("a test")

    def mend(self) -> None:
        """As a machine that starts again: nobody may have a file open there."""
        unmount(self.folder)
        subprocess.run(["e2fsck", "-p", "-f", str(self._image)], capture_output=True)
        self.mount()

    def close(self) -> None:
        unmount(self.folder)


@contextlib.contextmanager
def hanging(folder: Path) -> Iterator[None]:
    """Whoever looks into this folder waits, as for a server that does not answer; until this ends."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("needs /dev/fuse")
    server = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)  # it reads no request
    try:
        os.set_inheritable(server, True)
        options = f"fd={server},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        mount("-i", "-t", "fuse.silent", "-o", options, "silent", folder)
        try:
            yield
        finally:
            unmount(folder)
    finally:
        os.close(server)  # and all who wait get an error


@contextlib.contextmanager
def failing_writes(pid: int) -> Iterator[None]:
    """Every write of this process to a file fails with an I/O error, also to files that are open; needs no rights."""
    import resource

    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
