"""Whatever the bytes, the readers answer: with documents or settings, and with problems inside the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given
from hypothesis import settings as budget
from hypothesis import strategies as st

from scheduler.core.formats.channel_shapes import ChannelShape
from scheduler.core.formats.jobfile import read_job_file
from scheduler.core.formats.root_shapes import LimitsShape, PruneShape, RootShape, RunnerShape
from scheduler.core.formats.rootfile import read_root_file
from scheduler.core.formats.shapes import DefaultsShape, JobShape, ScheduleShape
from scheduler.core.values.settings import Settings
from scheduler.core.values.spec import JobSpec
from tests.core.problem_text import GOLDEN, check_places

TOP = Path(__file__).parents[3]
EXAMPLE = TOP / "jobs.example"
ROOT = (EXAMPLE / "scheduler.yaml").read_bytes()
SEEDS = [
    *(each.read_bytes() for each in sorted(GOLDEN.glob("*.[ym]*"))),
    *(each.read_bytes() for each in sorted(EXAMPLE.rglob("*.[ym]*"))),
]
PATHS = st.sampled_from(["jobs/a.yaml", "jobs/a.yml", "jobs/a.md", "a.yaml", "jobs/a.txt"])


def sound(data: bytes) -> Settings:
    found, problems = read_root_file(data)
    assert found is not None, problems
    return found


SETTINGS = (sound(ROOT), Settings())  # those of the example, and none at all


def check_job_file(data: bytes, path: str) -> None:
    for each in SETTINGS:
        found = read_job_file(path, data, each)
        check_places(data, found.problems)
        assert all(problem.path == path for problem in found.problems)
        assert not found.broken or (found.problems and not found.documents)
        for document in found.documents:
            if document.spec is not None:
                assert JobSpec.from_json(json.loads(json.dumps(document.spec.to_json()))) == document.spec
                assert document.spec.runner in each.runners
        assert read_job_file(path, data, each) == found, "the same bytes say the same"


def check_root_file(data: bytes) -> None:
    found, problems = read_root_file(data)
    check_places(data, problems)
    assert (found is None) == any(problem.is_error for problem in problems)
    if found is not None:
        assert Settings.from_json(json.loads(json.dumps(found.to_json()))) == found
        read_job_file("jobs/a.yaml", b"id: a\nschedule: '@daily'\ntask: x\n", found)


# -- bytes and texts -----------------------------------------------------------------------------

PIECES = [
    *(b"\n", b"\r\n", b"\r", b"\t", b" ", b"  ", b": ", b":", b"- ", b"? ", b", ", b"#", b" #x", b"---\n", b"...\n"),
    *(
        b"&x ",
        b"*x",
        b"!t ",
        b"!!str ",
        b"<<: ",
        b"|\n",
        b">-\n ",
        b"%TAG ! b\n",
        b"%YAML 1.1\n",
        b"{",
        b"}",
        b"[",
        b"]",
    ),
    *(b"]", b"'", b'"', b"\\", b"\\x", b'"\\0"', b"\0", b"\x07", b"\x7f", b"\x85", b"\xff", b"\xc3", b"\xed\xa0\x80"),
    *(b"\xef\xbb\xbf", "\u2028".encode(), "é😀".encode(), "\u0301".encode(), "\u202e".encode(), "\ufffe".encode()),
    *(b"<<<<<<< a\n", b"=======\n", b">>>>>>> b\n", b"null", b"true", b"5", b"1e999", b".inf", b"0x1F", b"9" * 50),
    *(b"id: b\n", b"task: x\n", b"env: {MODE: 1}\n", b"runners:\n", b"command: [cat]\n", b"[" * 40, b"a: {" * 40),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid or nearly valid file with pieces put in, taken out, doubled and swapped."""
    data = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 30)))
        piece = draw(st.sampled_from([b"", data[start:end] * 2, *PIECES]) | st.binary(max_size=3))
        data = data[:start] + piece + data[end:]
    return data


@st.composite
def pieced(draw: st.DrawFn) -> bytes:
    return b"".join(draw(st.lists(st.sampled_from(PIECES), max_size=30)))


ANY = st.binary(max_size=200) | st.text(max_size=100).map(str.encode) | pieced() | mutated()


@budget(suppress_health_check=[HealthCheck.too_slow])
@given(ANY, PATHS)
@example(b"\xef\xbb\xbf\xef\xbb\xbfid: a", "jobs/a.yaml")
@example(b"---\n\xef\xbb\xbfid: a\n---\n", "jobs/a.md")
@example(b"a: 1\r", "jobs/a.yaml")
@example(b"---\r\n---\r\n\r\n", "jobs/a.md")
@example(b"? [a, {b: c}]\n: &x [*x]\n", "jobs/a.yaml")
def test_any_bytes_are_a_job_file_or_its_problems(data: bytes, path: str) -> None:
    check_job_file(data, path)


@budget(suppress_health_check=[HealthCheck.too_slow])
@given(ANY)
@example(b"version: 1\nrunners: {r: {command: [cat], tasks: [x]}, '': {}}\n")
def test_any_bytes_are_settings_or_their_problems(data: bytes) -> None:
    check_root_file(data)


# -- well-formed YAML, but any value anywhere ----------------------------------------------------------

KEYS = sorted(
    {
        key
        for shape in (
            JobShape,
            ScheduleShape,
            DefaultsShape,
            RootShape,
            RunnerShape,
            LimitsShape,
            PruneShape,
            ChannelShape,
        )
        for key in (*shape.model_fields, *shape.misplaced)
    }
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["a", "shell", "agent", "@daily", "0 9 * * *", "20m", "UTC", "x.md", "a/**", "tag:x", "{task}"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
STARTS: list[dict[str, Any]] = [
    {},
    {"id": "a", "schedule": "@daily", "task": "x"},
    {"version": 1},
    {"version": 1, "runners": {"r": {"command": ["cat"]}}, "defaults": {"runner": "r"}},
]


@st.composite
def shaped(draw: st.DrawFn) -> Any:
    """A mapping that starts like a file, then goes wrong anywhere."""
    start = draw(st.sampled_from(STARTS))
    more = draw(st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=8), VALUES, max_size=6))
    return {**start, **more}


@budget(suppress_health_check=[HealthCheck.too_slow])
@given(shaped() | VALUES)
def test_any_values_at_any_key_are_read_or_told_in_our_own_words(value: Any) -> None:
    data = json.dumps(value, ensure_ascii=False).encode(errors="replace")
    check_job_file(data, "jobs/a.yaml")
    check_job_file(b"---\n" + data + b"\n---\nbody\n", "jobs/a.md")
    check_root_file(data)
