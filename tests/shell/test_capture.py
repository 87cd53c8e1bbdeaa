from __future__ import annotations

import errno
import os
import stat
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.run.local.capture import RESULT_BYTES, Capture

chunks = st.lists(st.binary(min_size=1, max_size=40), max_size=12)


def kept(limit: int, *written: bytes) -> tuple[bytes, Capture]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out")
        capture = Capture(path, limit=limit)
        for each in written:
            capture.write(each)
        capture.close()
        return path.read_bytes() if path.exists() else b"", capture


@given(chunks, st.integers(2, 120))
def test_a_stream_within_the_limit_is_kept_whole_and_a_longer_one_as_head_marker_and_tail(
    written: list[bytes], limit: int
) -> None:
    stream = b"".join(written)
    found, capture = kept(limit, *written)
    if len(stream) <= limit:
        assert found == stream
    else:
        head, tail = stream[: limit // 2], stream[len(stream) - (limit - limit // 2) :]
        assert found == head + b"\n[... %d bytes not kept ...]\n" % (len(stream) - limit) + tail
    assert capture.total == len(stream)
    assert capture.truncated == (len(stream) > limit)
    assert capture.prefix == stream


@given(chunks, st.integers(2, 120))
def test_the_file_is_the_streams_beginning_at_every_moment_before_the_end(written: list[bytes], limit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "out")
        capture = Capture(path, limit=limit)
        stream = b""
        for each in written:
            capture.write(each)
            stream += each
            assert not stream or path.read_bytes() == stream[:limit]
        capture.close()
        assert os.listdir(folder) == ["out"] * bool(stream)  # noqa: PTH208


def test_the_prefix_is_the_first_64_kib_whatever_the_limit() -> None:
    stream = os.urandom(RESULT_BYTES + 10)
    _, capture = kept(10, stream[:50_000], stream[50_000:])
    assert capture.prefix == stream[:RESULT_BYTES]


def test_memory_does_not_grow_with_the_stream_or_the_limit(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "out", limit=8_000_000)
    chunk = bytes(64 * 1024)
    tracemalloc.start()
    try:
        for _ in range(320):
            capture.write(chunk)
        capture.close()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert capture.total == 320 * len(chunk)
    assert peak < 1_000_000


def test_the_disk_that_an_endless_stream_takes_is_at_most_twice_the_limit(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "out", limit=100_000)
    for _ in range(200):
        capture.write(bytes(7_777))
        assert capture._ring is None or os.fstat(capture._ring.fileno()).st_size <= 50_000
        assert (tmp_path / "out").stat().st_size <= 100_000
    capture.close()
    assert (tmp_path / "out").stat().st_size < 100_100


def test_the_file_is_private_and_an_older_one_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"older and longer")
    capture = Capture(tmp_path / "out", limit=100)
    capture.write(b"new")
    capture.close()
    assert (tmp_path / "out").read_bytes() == b"new"
    fresh = Capture(tmp_path / "new/fresh", limit=100)
    fresh.write(b"x")
    fresh.close()
    assert stat.S_IMODE((tmp_path / "new/fresh").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "out").symlink_to("victim")
    capture = Capture(tmp_path / "out", limit=100)
    (tmp_path / "out").symlink_to("victim")  # again
    capture.write(b"loud")
    capture.close()
    assert (tmp_path / "victim").read_bytes() == b"precious"
    assert capture.error == f"output could not be saved: {os.strerror(errno.ELOOP)}"
    assert (capture.prefix, capture.truncated) == (b"loud", True)


def test_a_silent_stream_has_no_file_and_no_older_one_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"of a run that had the number before a restore")
    Capture(tmp_path / "out", limit=100).close()
    assert not (tmp_path / "out").exists()


def test_the_result_of_a_loud_stream_is_its_beginning_though_no_memory_keeps_it(tmp_path: Path) -> None:
    stream = bytes(range(256)) * 2000
    for limit in (100, RESULT_BYTES, 200_000, 10**6):
        capture = Capture(tmp_path / str(limit), limit=limit)
        for start in range(0, len(stream), 7919):
            capture.write(stream[start : start + 7919])
        assert capture.prefix == stream[:RESULT_BYTES]
        capture.close()
        assert capture.prefix == stream[:RESULT_BYTES]


@pytest.mark.parametrize("stage", ["write", "close"])
def test_a_full_disk_is_told_and_the_stream_is_still_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    capture = Capture(tmp_path / "out", limit=10)
    steps: list[Callable[[], None]] = [lambda: capture.write(b"x" * 20), capture.close]
    if stage == "close":
        steps.pop(0)()
    monkeypatch.setattr("scheduler.run.local.capture._write_all", full)
    for step in steps:
        step()
    assert (capture.total, capture.truncated) == (20, True)
    assert capture.error == "output could not be saved: No space left on device"


def test_closing_twice_changes_nothing(tmp_path: Path) -> None:
    capture = Capture(tmp_path / "out", limit=4)
    capture.write(b"abcdefgh")
    capture.close()
    first = (tmp_path / "out").read_bytes()
    capture.close()
    assert (tmp_path / "out").read_bytes() == first == b"ab\n[... 4 bytes not kept ...]\ngh"
