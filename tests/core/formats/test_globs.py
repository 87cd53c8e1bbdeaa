"""Globs of scheduler.yaml: `**` crosses folders, nothing else does."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.globs import matches, matches_job, may_hold


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("jobs/a.yaml", "jobs/**/*.yaml", True),
        ("jobs/x/y/a.yaml", "jobs/**/*.yaml", True),
        ("jobs/x/a.yaml", "jobs/*.yaml", False),
        ("jobs/a.yml", "jobs/*.yaml", False),
        ("scripts/x/y.sh", "scripts/**", True),
        ("scripts", "scripts/**", False),
        ("a/b.md", "?/[ab].md", True),
        ("a/b.md", "a?b.md", False),
        ("jobs/A.yaml", "jobs/a.yaml", False),
    ],
)
def test_a_path_matches_by_component(path: str, pattern: str, expected: bool) -> None:
    assert matches(path, pattern) == expected


def test_a_glob_of_many_stars_costs_no_more_than_its_length_times_that_of_the_path() -> None:
    path = "/".join("a" * 200)
    started = time.process_time()
    assert not matches(path, "/".join(["**"] * 100 + ["b"]))
    assert not matches(path, "/".join(["**", "a"] * 100 + ["b"]))
    assert matches(path, "/".join(["**", "a"] * 100))
    assert time.process_time() - started < 2


def slow(path: list[str], pattern: list[str]) -> bool:
    """What `**` means, word for word."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return any(slow(path[n:], pattern[1:]) for n in range(len(path))) if pattern[1:] else bool(path)
    return bool(path) and pattern[0] in ("*", path[0]) and slow(path[1:], pattern[1:])


components = st.lists(st.sampled_from(["a", "b", "jobs"]), min_size=1, max_size=4)
patterns = st.lists(st.sampled_from(["a", "b", "*", "**", "jobs"]), min_size=1, max_size=4)


@given(components, patterns)
def test_a_walk_enters_every_folder_on_the_way_to_a_match(path: list[str], pattern: list[str]) -> None:
    if matches("/".join(path), "/".join(pattern)):
        for depth in range(1, len(path)):
            assert may_hold("/".join(path[:depth]), "/".join(pattern))


def test_a_walk_leaves_out_what_cannot_match() -> None:
    assert not may_hold("node_modules", "jobs/**/*.yaml")
    assert not may_hold("jobs/deep", "jobs/*.yaml")


@pytest.mark.parametrize(
    ("job_id", "tags", "patterns", "found"),
    [
        ("backup-db", [], ["backup-*"], True),
        ("backup.db", [], ["backup?db"], True),
        ("backup", [], ["backup-*"], False),
        ("a/b", [], ["*"], True),
        ("a", ["agent"], ["tag:agent"], True),
        ("a", ["agents"], ["tag:agent"], False),
        ("a", ["agents"], ["tag:agent*"], True),
        ("agent", [], ["tag:agent"], False),
        ("a", ["b"], ["b"], False),
        ("a", ["Agent"], ["tag:agent"], False),
        ("a", [], [], False),
    ],
)
def test_a_job_is_matched_by_its_id_or_by_a_tag(job_id: str, tags: list[str], patterns: list[str], found: bool) -> None:
    assert matches_job(job_id, tags, patterns) is found


@given(components, patterns)
def test_matching_agrees_with_the_meaning_of_its_signs(path: list[str], pattern: list[str]) -> None:
    assert matches("/".join(path), "/".join(pattern)) == slow(path, pattern)
