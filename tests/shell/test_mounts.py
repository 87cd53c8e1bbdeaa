"""The mount table as the kernel writes it."""

from __future__ import annotations

import pytest

from scheduler.machine.mounts import find_mount

TABLE = """\
21 1 259:2 / / rw,relatime shared:1 - ext4 /dev/nvme0n1p2 rw,errors=remount-ro
22 21 0:21 / /proc rw,nosuid - proc proc rw
30 21 0:40 / /home rw,relatime shared:7 master:2 - nfs4 files.example.com:/home rw,vers=4.2,addr=10.0.0.2
31 30 0:41 / /home/ann/mnt rw - fuse.sshfs ann@host:/srv rw,user_id=1000
32 21 0:42 / /mnt/with\\040space rw - cifs //nas/share\\0401 rw,username=ann
33 21 8:17 / /mnt/disk rw - fuseblk /dev/sdb1 rw
34 21 0:43 / /mnt/over rw - nfs server:/a rw
35 34 8:33 / /mnt/over rw - xfs /dev/sdc1 rw
36 21 0:44 / /mnt/c rw - 9p drvfs rw
37 21 0:45 / /mnt/secret rw - fuse.gocryptfs /home/ann/cipher rw
38 21 0:46 / /run/user/1000 rw - tmpfs tmpfs rw
39 21 0:47 / /hidden/inner rw - nfs server:/b rw
40 21 8:49 / /hidden rw - ext4 /dev/sdd1 rw
not a line
41 21 0:48 / /broken rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "shared"),
    [
        ("/", "ext4", False),
        ("/srv/jobs/.scheduler", "ext4", False),
        ("/home/bob/jobs", "nfs4", True),
        ("/homes", "ext4", False),  # no part of /home
        ("/home/ann/mnt/jobs", "fuse.sshfs", True),
        ("/mnt/with space/jobs", "cifs", True),
        ("/mnt/disk", "fuseblk", False),
        ("/mnt/over/jobs", "xfs", False),  # the later mount hides the earlier
        ("/mnt/c/Users", "9p", True),
        ("/mnt/secret", "fuse.gocryptfs", False),
        ("/run/user/1000/x", "tmpfs", False),
    ],
)
def test_the_nearest_mount_above_a_path_says_what_it_is_on(path: str, kind: str, shared: bool) -> None:
    found = find_mount(TABLE, path)
    assert found is not None
    assert (found.kind, found.is_shared) == (kind, shared)


def test_the_number_of_a_mount_counts_more_than_the_path() -> None:
    found = find_mount(TABLE, "/hidden/inner/jobs", mount_id=40)
    assert found is not None
    assert found.kind == "ext4"


@pytest.mark.parametrize(
    "kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "fuse.rclone", "fuse.s3fs", "virtiofs", "ceph"]
)
def test_file_systems_that_other_machines_write_to_are_shared(kind: str) -> None:
    found = find_mount(f"1 0 0:1 / / rw - {kind} server:/ rw\n", "/x")
    assert found is not None
    assert found.is_shared


@pytest.mark.parametrize(
    "kind", ["ext4", "xfs", "btrfs", "zfs", "tmpfs", "overlay", "apfs", "f2fs", "fuse.mergerfs", "fuse", "ntfs3"]
)
def test_file_systems_of_one_machine_are_not_shared(kind: str) -> None:
    found = find_mount(f"1 0 0:1 / / rw - {kind} x rw\n", "/x")
    assert found is not None
    assert not found.is_shared


def test_a_table_that_does_not_tell_is_no_error() -> None:
    assert find_mount("", "/x") is None
    assert find_mount("nonsense\n\n1 2 3\n", "/x") is None
    assert find_mount("1 0 0:1 / /only rw - ext4 x rw\n", "/other") is None
