"""The page of a run, over a real root."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scheduler.core.past.why import whose_fault
from scheduler.core.values.usage import EndClass
from scheduler.web.pages.run import MOST_TEXT
from tests.faces.conftest import Root
from tests.web.test_pages_job import HTML, asking, page, told


def test_a_failure_is_shown_beside_the_last_success_and_what_has_changed_since(lived_in: Root) -> None:
    commit = lived_in.break_flaky(after=2)
    broken, good, *_ = (each["id"] for each in lived_in.runs("flaky"))
    shown = page(lived_in, f"/runs/{broken}")
    assert f'<a href="/runs/{good}">{good}</a> succeeded' in shown
    assert "just before it." in shown
    assert "<del>echo fine" in shown
    assert "<ins>exit 4" in shown
    assert f'<a href="/review/{commit}~1...{commit}"><code>{commit[:7]}</code></a>' in shown
    assert "the task: it ran, and failed" in shown
    assert "for <time data-ago data-lasting" in page(lived_in, "/")
    since = told(lived_in, f"/runs/{broken}")["since"]
    assert (since["before"]["run"], since["text_changed"]) == (good, True)


def test_the_link_of_a_commit_shows_what_it_has_changed_and_the_first_one_added_everything(lived_in: Root) -> None:
    commit = lived_in.break_flaky()
    shown = page(lived_in, f"/review/{commit}~1...{commit}")
    assert "1 job with another text" in shown
    assert "<ins>exit 4" in shown
    first = lived_in.git("rev-list", "--max-parents=0", "HEAD")
    assert "6 jobs added" in page(lived_in, f"/review/{first}~1...{first}")
    answer = asking(lived_in).get(f"/review/{first}~2...{first}", headers=HTML)
    assert (answer.status_code, "is not a commit in this repository" in answer.text) == (400, True)


def test_a_failure_without_any_change_says_so(lived_in: Root) -> None:
    lived_in.write("scripts/flaky.sh", 'test "$SCHEDULER_RUN_ID" = flaky:2\n')
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    lived_in.clock.advance(timedelta(minutes=1))
    assert lived_in.cli("run", "flaky", "--wait").code == 1
    shown = page(lived_in, "/runs/flaky:3")
    assert "Nothing that the scheduler knows of has changed since" in shown


def test_what_changed_in_the_definition_and_between_is_named(lived_in: Root) -> None:
    lived_in.write("scripts/flaky.sh", "echo fine\n")
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    lived_in.clock.advance(timedelta(minutes=1))
    lived_in.edit("jobs/flaky.yaml", "runner: shell", "runner: shell\ntimeout: 9m\n")
    lived_in.commit()
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    newest, before = (each["id"] for each in lived_in.runs("flaky")[:2])
    since = told(lived_in, f"/runs/{newest}")["since"]
    assert since["before"]["run"] == before
    assert list(since["definition"]) == ["timeout_ms"]
    assert "timeout_ms: " in page(lived_in, f"/runs/{newest}")


def test_a_run_that_nothing_came_before_has_no_comparison(lived_in: Root) -> None:
    assert told(lived_in, "/runs/heartbeat:1")["since"] is None
    assert "Since its last success" not in page(lived_in, "/runs/heartbeat:1")


def test_a_long_output_is_shown_from_a_whole_line_on_and_the_rest_is_a_link_away(lived_in: Root) -> None:
    lines = 2 * MOST_TEXT // 10
    lived_in.write("scripts/flaky.sh", f"seq -f %09g {lines}\n")
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    newest = lived_in.runs("flaky")[0]["id"]
    (out, err) = told(lived_in, f"/runs/{newest}")["output"]
    assert (out["cut"], out["bytes"], err["text"]) == (True, lines * 10, "")
    assert MOST_TEXT - 10 <= len(out["text"]) <= MOST_TEXT
    assert out["text"].splitlines()[0] == f"{lines - len(out['text']) // 10 + 1:09}"
    assert out["text"].endswith(f"{lines:09}\n")
    shown = page(lived_in, f"/runs/{newest}")
    link = f"/api/runs/{newest.replace(':', '%3A')}/output?stream=stdout&amp;attempt=1&amp;start=0"
    assert f'<a href="{link}">From its beginning</a>' in shown


def test_each_attempt_keeps_its_output_and_an_unknown_one_is_refused(lived_in: Root) -> None:
    lived_in.write("scripts/flaky.sh", 'echo "try $SCHEDULER_ATTEMPT"; test "$SCHEDULER_ATTEMPT" = 2\n')
    lived_in.edit("jobs/flaky.yaml", "runner: shell", "runner: shell\nretry: {attempts: 2, delay: 1s}")
    lived_in.sync()
    lived_in.ok("run", "flaky", "--wait")
    newest = lived_in.runs("flaky")[0]["id"]
    assert told(lived_in, f"/runs/{newest}")["output"][0]["text"] == "try 2\n"
    assert told(lived_in, f"/runs/{newest}", attempt="1")["output"][0]["text"] == "try 1\n"
    shown = page(lived_in, f"/runs/{newest}", attempt="1")
    assert "Output of attempt 1" in shown
    assert '<a href="?attempt=2">attempt 2</a>' in shown
    assert "has had no attempt 9" in told(lived_in, f"/runs/{newest}", attempt="9")["detail"]
    assert "attempt is not a number" in told(lived_in, f"/runs/{newest}", attempt="x")["detail"]


def test_an_output_that_was_deleted_is_not_called_empty(lived_in: Root) -> None:
    lived_in.break_flaky()
    for each in (lived_in.path / ".scheduler/runs/flaky").iterdir():
        each.unlink()
    good, broken = (page(lived_in, f"/runs/flaky:{n}") for n in (2, 3))
    assert "It was deleted" in good
    assert "It wrote nothing." in broken


@pytest.mark.parametrize("end", EndClass)
def test_every_end_but_a_good_one_names_whose_fault_it_is(end: EndClass) -> None:
    assert bool(whose_fault("failed", None, end)) is (end is not EndClass.OK)


def test_the_fault_of_a_run_that_did_not_start_is_in_its_reason() -> None:
    assert whose_fault("skipped", "source_missing", None) == "the file of its task"
    assert whose_fault("skipped", "runner_unavailable", None) == "the runner"
    assert whose_fault("skipped", "paused", None) == ""
    assert whose_fault("queued", None, None) == ""
