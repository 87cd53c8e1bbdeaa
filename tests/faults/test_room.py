"""What is asked before a claim: is there room for all that a run writes?"""

from __future__ import annotations

import contextlib
from pathlib import Path

from scheduler.machine.disks import RESERVE_BYTES, cannot_write, lack_of_room
from tests.faults.disks import Disk


def test_there_is_room_until_the_reserve_is_touched(disk: Disk, tmp_path: Path) -> None:
    assert lack_of_room(disk.folder, disk.folder / "not/there/yet") == ""
    disk.fill(leave=2 * RESERVE_BYTES)
    assert lack_of_room(tmp_path, disk.folder) == ""
    disk.free()
    disk.fill(leave=RESERVE_BYTES // 2)
    assert (
        lack_of_room(tmp_path, disk.folder / "state")
        == f"the disk of {disk.folder} is full: less than 1024 KiB are free"
    )
    assert cannot_write(disk.folder) == ""
    disk.fill()
    assert cannot_write(disk.folder) == f"{disk.folder} cannot be written: No space left on device"
    disk.free()
    assert (lack_of_room(disk.folder), cannot_write(disk.folder)) == ("", "")


def test_the_words_for_a_lack_do_not_change_with_its_size(disk: Disk) -> None:
    """They are told once, as long as they stay the same."""
    disk.fill(leave=RESERVE_BYTES // 2)
    first = lack_of_room(disk.folder)
    disk.fill()
    assert lack_of_room(disk.folder) == first != ""


def test_a_read_only_file_system_has_no_room(disk: Disk) -> None:
    with disk.read_only():
        assert lack_of_room(disk.folder) == f"{disk.folder} is on a read-only file system"
        assert "Read-only" in cannot_write(disk.folder)
    assert lack_of_room(disk.folder) == ""


def test_a_file_system_without_inodes_has_no_room(tmp_path: Path) -> None:
    disk = Disk(tmp_path / "disk", "8m,nr_inodes=64")
    try:
        assert lack_of_room(disk.folder) == ""
        with contextlib.suppress(OSError):
            for n in range(64):
                (disk.folder / str(n)).touch()
        assert lack_of_room(disk.folder).startswith(f"the file system of {disk.folder} can hold no more files")
    finally:
        disk.close()


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    assert cannot_write(folder) == ""
    assert list(folder.iterdir()) == []
