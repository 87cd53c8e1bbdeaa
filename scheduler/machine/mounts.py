"""The file system that a folder is on, from the kernel's mount table (proc_pid_mountinfo(5))."""

from __future__ import annotations

import functools
import os
import re
import select
import threading
from dataclasses import dataclass
from pathlib import Path

from scheduler.machine.disks import nearest_folder

# File systems whose locks or shared memory may not reach every machine that writes there. SQLite's WAL needs both.
_SHARED = re.compile(
    "9p|afs|acfs|beegfs|ceph|cifs|coda|davfs|drvfs|fakeowner|gfs2|glusterfs|gpfs|lustre|ncpfs|nfs|nfs4|ocfs2|orangefs"
    "|osxfs|prl_fs|pvfs2|smb2|smb3|smbfs|vboxsf|virtiofs|vmhgfs"
)
_SHARED_FUSE = re.compile(
    "afp|ceph|ceph-fuse|curlftpfs|davfs2?|glusterfs|goofys|gcsfuse|google-drive-ocamlfuse|grpcfuse|gvfsd-fuse"
    "|juicefs|lustre|moosefs|mfs|onedriver|osxfs|rclone|s3fs|seaweedfs|smbnetfs|sshfs|vmhgfs-fuse"
)


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table."""

    id: int
    point: str  # absolute path
    kind: str  # such as ext4, nfs4 or fuse.sshfs
    source: str  # such as /dev/sda1 or server:/export

    @property
    def is_shared(self) -> bool:
        """True if other machines may write there too, or a server stands between this machine and the disk."""
        base, _, fuse = self.kind.partition(".")
        names = _SHARED_FUSE if base == "fuse" else _SHARED
        return names.fullmatch(fuse if base == "fuse" else base) is not None

    @property
    def waits(self) -> bool:
        """True if a read there waits for a server or for another process, as long as that likes."""
        return self.is_shared or self.kind.partition(".")[0] in ("fuse", "autofs")


def find_mount(table: str, path: str, *, mount_id: int | None = None) -> Mount | None:
    """The mount that `path` is on, or None if the table does not say. `path` is absolute and resolved.

    mount_id: the mount's number, if the kernel gave it. A path alone cannot tell what a later mount covers.
    """
    mounts = [mount for line in table.splitlines() if (mount := _mount(line)) is not None]
    for mount in mounts:
        if mount.id == mount_id:
            return mount
    holding = [mount for mount in mounts if f"{path}/".startswith(f"{mount.point.rstrip('/')}/")]
    # Of two mounts on one point, the last one is visible.
    return max(reversed(holding), key=lambda mount: len(mount.point), default=None)


def may_hang(*paths: str) -> bool:
    """True if a read of one of these absolute paths may hang. Asks the mount table alone, which never does."""
    points = _slow_points(_table())
    return bool(points) and any(f"{path}/".startswith(point) for path in paths for point in points)


def slow_folders(root: Path) -> frozenset[str]:
    """The folders below a root, a real path, whose reads may hang, root-relative."""
    above = f"{str(root).rstrip('/')}/"
    points = _slow_points(_table())
    return frozenset(point[len(above) :].rstrip("/") for point in points if point.startswith(above) and point != above)


class _Table:
    """The mount table, read again when the kernel says that it has changed (proc_pid_mounts(5)): every fire asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes: select.poll | None = None
        self._text = ""

    def read(self) -> str:
        """Its text. Empty if there is none, as on macOS."""
        with self._lock:
            if self._changes is None or self._changes.poll(0):
                self._read()
            return self._text

    def _read(self) -> None:
        try:
            if self._changes is None:
                self._file = open("/proc/self/mountinfo", errors="surrogateescape")  # noqa: PTH123, SIM115 - polled
                changes = select.poll()
                changes.register(self._file, select.POLLPRI)
                changes.poll(0)
                self._changes = changes
            self._file.seek(0)
            self._text = self._file.read()
        except OSError:
            self._text = ""


_table = _Table().read


@functools.lru_cache(maxsize=2)
def _slow_points(table: str) -> tuple[str, ...]:
    """Where such file systems are mounted, each with a slash at its end."""
    mounts = filter(None, map(_mount, table.splitlines()))
    return tuple(f"{mount.point.rstrip('/')}/" for mount in mounts if mount.waits)


def _mount(line: str) -> Mount | None:
    fields = line.split(" ")
    try:
        end = fields.index("-", 6)  # any number of optional fields come before it
        return Mount(id=int(fields[0]), point=_plain(fields[4]), kind=fields[end + 1], source=_plain(fields[end + 2]))
    except (ValueError, IndexError):
        return None


def _plain(text: str) -> str:
    """Decode space, tab, newline and backslash, which the table writes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def mount_of(folder: Path) -> Mount | None:
    """The mount of a folder, or of its nearest existing parent; None without /proc."""
    folder = nearest_folder(folder)
    try:
        table = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
        file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        info = Path(f"/proc/self/fdinfo/{file}").read_text()
        found = re.search(r"^mnt_id:\s*(\d+)$", info, re.MULTILINE)
    except OSError:
        found = None
    finally:
        os.close(file)
    return find_mount(table, os.path.realpath(folder), mount_id=int(found[1]) if found else None)
