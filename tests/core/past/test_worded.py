"""Who changed what, in words; and what a job's latest run came to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.past.outcome import SIGNS, STATES, tone_of
from scheduler.core.past.worded import hours_in_words, worded
from scheduler.core.values.facts import Commit
from scheduler.core.values.runs import AuditRow
from scheduler.core.values.settings import ROOT_JOB_ID

AT = datetime(2026, 3, 2, 9, tzinfo=UTC)
BEN = Commit(id="b" * 40, author="Ben", email="ben@example.com", date=AT, subject="Count lines")


def row(action: str, job_id: str = "a", *, minutes: int = 0, field: str | None = None, **more: Any) -> AuditRow:
    at = AT + timedelta(minutes=minutes)
    given = {"actor": "user:ann", "cause": "sync", "after": None, **more}
    return AuditRow(job_id=job_id, action=action, field=field, at=at, **given)


def texts(*rows: AuditRow) -> list[str]:
    return [f"{each.who} {each.text}" for each in worded(rows)]


def test_a_change_is_told_with_its_author_rather_than_with_who_synced_it() -> None:
    assert texts(row("task", field="task_sha256", commit=BEN)) == ["Ben changed the text of a"]
    assert texts(row("pause")) == ["ann paused a"]


def test_a_change_that_was_saved_before_it_was_committed_gets_its_author_later() -> None:
    later = row("commit", minutes=1, field="task", commit=BEN)
    assert texts(later, row("task", field="task_sha256")) == ["Ben changed the text of a"]


def test_what_came_at_once_is_one_change_and_the_text_of_a_new_job_is_none() -> None:
    jobs = [each for name in "dcba" for each in (row("task", name), row("create", name))]
    assert texts(*jobs, row("create", ROOT_JOB_ID)) == ["ann added 4 jobs: a, b, c, …"]
    assert texts(row("update", "b"), row("update", "a"), row("archive", "c")) == ["ann archived c; changed a, b"]


def test_what_nobody_did_is_left_out() -> None:
    assert texts(row("failure"), row("alarm"), row("arm", cause="sync")) == []


def test_a_change_that_may_go_on_beyond_what_was_read_says_so() -> None:
    rows = [row("create", "a", minutes=1), row("create", "b")]
    assert [each.text for each in worded(rows, more=True)] == ["added a", "added b and possibly more"]
    assert worded([row("create", each) for each in "dcba"], more=True)[0].text == "added at least 4 jobs: a, b, c, …"


def test_the_hours_around_now_in_words() -> None:
    assert hours_in_words({}, 0) == "last 6 hours: nothing ended; next 6 hours: 0 fires to come"
    assert hours_in_words({"coming": 2}, 0, often=3).endswith(
        "next 6 hours: 2 fires to come, besides 3 jobs every five minutes or more often"
    )
    assert hours_in_words({"failed": 1, "other": 2, "coming": 1}, 1) == (
        "last 6 hours: 1 failed, 2 cancelled; 1 run under way; next 6 hours: 1 fire to come"
    )


def test_each_state_has_a_sign_and_only_success_is_green() -> None:
    assert [each for each in STATES if tone_of(each) == "good"] == ["succeeded"]
    assert all(each in SIGNS for each in STATES)


@given(
    st.lists(st.builds(row, st.sampled_from(["create", "update", "task", "commit", "pause"]), st.sampled_from("ab")))
)
def test_any_rows_are_told_in_fewer_changes_each_with_words(rows: list[AuditRow]) -> None:
    found = worded(rows)
    assert len(found) <= len(rows)
    assert all(each.text for each in found)
