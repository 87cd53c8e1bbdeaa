"""Where a change is marked: on a line that the diff of a pull request shows, the key's own if it changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.formats.keylines import job_key_lines, setting_lines
from scheduler.core.plan.marks import field_lines, mark_line
from scheduler.core.plan.textdiff import hunks

JOB = "id: a\nschedule:\n  cron: '0 9 * * *'\n  timezone: UTC\nretry: {attempts: 2}\ntask: |\n  One.\n  Two.\n"
LINES = job_key_lines("jobs/a.yaml", JOB.encode())["a"]


def marked(before: str, key: str, after: str = JOB) -> int | None:
    return mark_line(field_lines(key, job_key_lines("a.yaml", after.encode())["a"]), hunks(before, after))


def test_each_key_has_its_lines_in_yaml_in_markdown_and_in_scheduler_yaml() -> None:
    assert {key: (each.start, each.stop - 1) for key, each in LINES.items()} == {
        "id": (1, 1),
        "schedule": (2, 4),
        "schedule.cron": (3, 3),
        "schedule.timezone": (4, 4),
        "retry": (5, 5),
        "retry.attempts": (5, 5),
        "task": (6, 8),
    }
    page = b"---\nid: a\nschedule: '@daily'\n---\nOne.\nTwo.\n"
    assert job_key_lines("a.md", page)["a"]["task"].start == 5
    two = job_key_lines("a.yaml", b"id: a\ntimeout: 1m\n---\nid: b\ntimeout: 2m\n")
    assert (two["a"]["timeout"].start, two["b"]["timeout"].start) == (2, 5)
    root = setting_lines(b"version: 1\nrunners:\n  sh:\n    command:\n      - sh\n      - x\n")
    assert root["runners.sh.command"].start == 4
    for broken in (b"\xff", b"a: [", b"- a\n", b""):
        assert not job_key_lines("a.yaml", broken)
        assert not job_key_lines("a.md", broken)
        assert not setting_lines(broken).get("version")


def test_a_changed_key_is_marked_on_the_line_that_changed() -> None:
    assert marked(JOB.replace("0 9", "0 8"), "schedule") == 3
    assert marked(JOB.replace("attempts: 2", "attempts: 1"), "retry") == 5
    assert marked(JOB.replace("Two", "2"), "task") == 8
    assert marked("", "schedule") == 2, "a new file"


def test_a_key_that_is_gone_is_marked_where_it_was() -> None:
    before = JOB.replace("task:", "timeout: 1h\ntask:")
    assert marked(before, "timeout_ms") == 6, "the line that stands there now"
    assert marked(JOB + "timeout: 1h\n", "timeout_ms") == 8, "the last line of the file"


def test_a_key_that_the_diff_does_not_show_is_marked_in_the_nearest_change() -> None:
    far = "".join(f"# {n}\n" for n in range(40))
    assert marked(far + JOB, "id", far.replace("# 39", "# x") + JOB) == 41, "beside the change, as context"
    assert marked(far + JOB, "retry", far.replace("# 39", "# x") + JOB) == 40
    assert marked(JOB + far, "id", JOB + far.replace("# 30", "# x")) == 39


def test_nothing_is_marked_in_a_file_that_did_not_change() -> None:
    assert marked(JOB, "schedule") is None
    assert mark_line(None, ()) is None
    assert mark_line(LINES["retry"], None) == 5, "where the base is not known, the key is"


lines = st.lists(st.sampled_from(["a", "b", "c", ""]), max_size=30).map(lambda found: "".join(f"{x}\n" for x in found))


@given(lines, lines, st.integers(1, 31))
def test_every_mark_lies_inside_the_diff(before: str, after: str, line: int) -> None:
    found = hunks(before, after)
    place = mark_line(range(line, line + 2), found)
    shown = {
        number for hunk in found for number in range(hunk.after_start, hunk.after_start + hunk.after_count) if number
    }
    assert (place is None) == (not shown)
    assert place is None or place in shown
