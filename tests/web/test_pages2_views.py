"""The views of Spend, Explain, Health, Activity, Sync and Review, and what their templates make of them."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from scheduler.core.values.access import Role
from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.root.place import Place
from scheduler.service.access import login_secret, redeem
from scheduler.service.doctor.lately import LASTS_S, Lately
from scheduler.service.frame import Standing
from scheduler.service.history import activity, audit
from scheduler.service.review.recent import LASTS_S as LASTS
from scheduler.service.review.recent import MOST_CLOCKS, Recent
from scheduler.service.review.review import review as of_service
from scheduler.service.root import Root as ServiceRoot
from scheduler.web.frame import Frame
from scheduler.web.pages import activity as activity_page
from scheduler.web.pages import explain, health, review, spend, sync
from scheduler.web.render import duration, render
from tests.faces.conftest import Root, clock, committed, root
from tests.helpers import git

__all__ = ["clock", "committed", "root"]
EVIL = '<script>alert("1")</script>\u202e'


def html(name: str, view: object) -> str:
    """The page, without what is around it."""
    around = Frame(
        root="/root",
        now=datetime(2026, 3, 1, 12, tzinfo=UTC),
        zone="",
        root_zone="Europe/Berlin",
        standing=Standing(synced_at=None, daemon="dead"),
        query={},
    )
    text = render(name, {"view": view, "frame": around, "path": "/", "pages": {}, "role": Role.ADMIN})
    return text[: text.index("</title>")] + text[text.index("<main") :]


@pytest.fixture
def asked(root: Root) -> ServiceRoot:
    root.ok("sync")
    state = root.path / ".scheduler"
    place = Place(root=root.path, state=state, db=state / "state.db")
    return ServiceRoot(place=place, actor="user:test", environ={}, clock=root.clock)


def test_explain_shows_the_answer_for_an_instant(asked: ServiceRoot) -> None:
    view = explain.page(asked, {"job": "heartbeat"})
    assert view.one is not None
    shown = html("explain", view)
    assert '<h1>Explain <a href="/jobs/heartbeat">heartbeat</a></h1>' in shown
    assert "Europe/Berlin" in view.timezone
    assert f'<time datetime="{view.one["at"]}">' in shown


def test_explain_shows_the_slots_of_a_window(asked: ServiceRoot) -> None:
    view = explain.page(asked, {"job": "heartbeat", "from": "-3h"})
    assert view.window is not None
    assert view.window["text"] in unescape(html("explain", view))


@pytest.mark.parametrize(
    "query", [{}, {"job": "nobody"}, {"job": "heartbeat", "at": EVIL}, {"job": "heartbeat", "to": "-1h"}]
)
def test_explain_answers_a_wrong_question_in_words(asked: ServiceRoot, query: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        explain.page(asked, query)


def test_spend_shows_an_empty_root(asked: ServiceRoot) -> None:
    assert "<p>Nothing was spent this month.</p>" in html("spend", spend.page(asked, {}))


def test_no_name_becomes_markup(asked: ServiceRoot) -> None:
    found: dict[str, Any] = {**spend.page(asked, {}).spend}
    part = {"name": EVIL, "currency": "USD", "amount": "1", "runs": 2}
    row = {"job_id": EVIL, "currency": "USD", "today": "1", "this_month": "2", "runs": 3, "limits": []}
    mover = {
        "job_id": EVIL, "currency": "USD", "before": "1", "before_runs": 5, "after": "2", "after_runs": 6,
        "old_sha256": EVIL, "new_sha256": EVIL, "share": 1.0,
    }  # fmt: skip
    found |= {"root": [row], "jobs": [row], "versions": [{**part, "job_id": EVIL}], "models": [part]}
    found |= {"movers": [mover], "unpriced": {EVIL: 1}}
    shown = html("spend", spend.View(spend=found))  # type: ignore[arg-type]
    assert "<script" not in shown
    assert "a run costs 2.00 USD (median of 6), before 1.00 USD (of 5)" in shown
    one = explain.page(asked, {"job": "heartbeat"}).one
    assert one is not None
    evil = explain.View(job=EVIL, timezone="UTC", one={**one, "text": EVIL, "held": EVIL})
    assert "<script" not in html("explain", evil)


def test_health_shows_every_check_and_how_long_it_took(asked: ServiceRoot) -> None:
    lately = Lately()
    lately.examine(asked)
    view = health.page(asked, {}, lately)
    shown = html("health", view)
    assert view.doctor
    assert view.doctor["checks"]
    assert shown.count("</b></td>") == len(view.doctor["checks"])
    assert f"in {duration(view.took_ms)}" in shown
    evil: Any = {**view.doctor, "checks": [{**view.doctor["checks"][0], "message": EVIL}]}
    assert "<script" not in html("health", replace(view, doctor=evil))


def test_doctor_examines_at_most_once_in_some_seconds(asked: ServiceRoot) -> None:
    now, calls = [100.0], list[ServiceRoot]()

    def examine(root: ServiceRoot) -> Any:
        calls.append(root)
        return {"checks": []}

    lately = Lately(examine, lambda: now[0])
    for _ in range(1000):
        lately.examine(asked)
    assert len(calls) == 1
    now[0] += LASTS_S
    lately.examine(asked)
    assert len(calls) == 2


def test_a_page_does_not_wait_for_a_long_examination_and_shows_the_last_one_until_it_ends(asked: ServiceRoot) -> None:
    now, may_end, calls = [100.0], threading.Event(), list[int]()

    def examine(root: ServiceRoot) -> Any:
        calls.append(1)
        assert may_end.wait(60)
        now[0] += 4
        return {"checks": [], "errors": len(calls), "warnings": 0}

    lately = Lately(examine, lambda: now[0])
    first = [health.page(asked, {}, lately) for _ in range(3)]
    assert [(each.doctor, each.again) for each in first] == [(None, True)] * 3
    assert "Everything is being examined;" in html("health", first[0])
    may_end.set()
    found, _ = lately.examine(asked)
    assert found is not None
    now[0] += 30
    assert health.page(asked, {}, lately).again is False, "it took long, so it lasts long"
    may_end.clear()
    now[0] += 40
    later = health.page(asked, {}, lately)
    assert (later.doctor, later.again) == (found.doctor, True)
    assert "1 error" in html("health", later)
    may_end.set()
    assert lately.examine(asked)[0] != found
    assert len(calls) == 2


def test_activity_pages_through_every_row_once(asked: ServiceRoot, root: Root) -> None:
    for command in ("pause", "resume", "pause"):
        root.clock.advance(timedelta(seconds=1))
        root.ok(command, "heartbeat")
    whole = sorted(f"{row['at']} {row['job_id']} {row['action']}" for row in audit(asked)["audit"])
    seen, before, pages = list[str](), None, 0
    while True:
        found = activity(asked, before=before, count=2)
        seen += [f"{row['at']} {each} {row['action']}" for row in found["rows"] for each in row["job_ids"]]
        before, pages = found["before"], pages + 1
        if before is None:
            break
    assert len(whole) > 2
    assert pages > 1
    assert sorted(seen) == whole


def test_what_one_pass_did_to_many_jobs_is_one_row(asked: ServiceRoot, root: Root) -> None:
    root.clock.advance(timedelta(seconds=1))
    for n in range(300):
        root.write(f"jobs/many{n}.yaml", f"id: many-{n}\nschedule: manual\ntask: Nothing.\n")
    root.ok("sync")
    found = activity_page.page(asked, {})
    newest, *others = found.activity["rows"]
    assert (newest["action"], len(newest["job_ids"])) == ("create", 300)
    assert all(row["at"] < newest["at"] for row in others)
    shown = html("activity", found)
    assert "<summary>300 jobs</summary>" in shown
    assert shown.count('href="/jobs/many-') == found.most_named
    assert [row["job_ids"] for row in others if "@root" in row["job_ids"]] == [["@root"]]
    assert "/jobs/%40root" not in shown
    only = activity_page.page(asked, {"job": "many-7"}).activity["rows"]
    assert [row["job_ids"] for row in only] == [["many-7"]]


def test_a_login_is_told_once(asked: ServiceRoot) -> None:
    assert redeem(asked, login_secret(asked)) is not None
    shown = html("activity", activity_page.page(asked, {"action": "login"}))
    assert '<td class="wide"><span title="login">logged in</span></td>' in shown
    assert shown.count(asked.actor) == 1


def test_activity_is_filtered_by_job_actor_and_action(asked: ServiceRoot, root: Root) -> None:
    root.clock.advance(timedelta(seconds=1))
    root.ok("pause", "heartbeat")
    found = activity_page.page(asked, {"job": "heartbeat", "action": "pause"}).activity["rows"]
    assert [(row["job_id"], row["action"]) for row in found] == [("heartbeat", "pause")]
    actor = found[0]["actor"]
    assert {row["actor"] for row in activity_page.page(asked, {"actor": actor}).activity["rows"]} == {actor}
    assert activity_page.page(asked, {"actor": EVIL}).activity["rows"] == []


def test_activity_shows_its_filters_as_text(asked: ServiceRoot) -> None:
    view = activity_page.page(asked, {"actor": EVIL})
    assert "no changes" in html("activity", view)
    assert "<script" not in html("activity", view)
    assert "heartbeat" in html("activity", activity_page.page(asked, {}))


def test_activity_says_what_was_changed_with_times_in_the_zone_of_the_root_and_links_commits(
    asked: ServiceRoot, root: Root
) -> None:
    root.ok("pause", "heartbeat", "--until", "2026-12-31T23:30:00Z")
    root.edit("prompts/triage.md", "Sort", "Read")
    root.ok("sync")
    root.commit()
    root.ok("sync")
    found = html("activity", activity_page.page(asked, {}))
    assert "paused</span>: until 2027-01-01 00:30:00 Europe/Berlin" in found
    assert "committed</span> of the text<" in found
    assert "task_sha256" not in found
    assert re.search(r'<a href="/review/[0-9a-f]{40}~1\.\.\.[0-9a-f]{40}">', found)


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 40, "١"])
def test_activity_refuses_what_is_no_cursor(asked: ServiceRoot, cursor: str) -> None:
    with pytest.raises(UsageError):
        activity_page.page(asked, {"before": cursor})


def test_sync_shows_drift_problems_with_their_line_and_what_waits(asked: ServiceRoot, root: Root) -> None:
    root.ok("pause", "heartbeat", "--reason", "<b>quiet</b>")
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    root.write("jobs/bad.yaml", "id: bad\nschedule: <b>never</b>\ntask: hi\n")
    view = sync.page(asked, {})
    shown = html("sync", view)
    assert '<li>created: <a href="/jobs/new">new</a></li>' in shown
    assert "<b>" not in shown
    assert "schedule: &lt;b&gt;never&lt;/b&gt;" in shown
    assert '<li><a href="/jobs/heartbeat">heartbeat</a>: paused (&lt;b&gt;quiet&lt;/b&gt;)' in shown
    assert view.revisions[0].commit == root.git("rev-parse", "HEAD").strip()


def test_sync_names_what_the_guard_holds_by_its_count(asked: ServiceRoot, root: Root) -> None:
    root.delete("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/flaky.yaml", "jobs/clock.yaml")
    view = sync.page(asked, {})
    assert view.plan["guard"] is not None
    shown = html("sync", view)
    assert shown.count("<li>would be archived: ") == 6
    token = view.plan["guard"]["token"]
    assert f"<code>scheduler sync --confirm-prune {token}</code>" in shown
    root.ok("sync", "--confirm-prune", token)
    assert sync.page(asked, {}).plan["guard"] is None


def test_review_shows_changed_jobs_and_the_diff_of_a_text(asked: ServiceRoot, root: Root) -> None:
    root.edit("jobs/heartbeat.md", "once an hour", "<b>twice</b> an hour")
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    root.commit()
    shown = html("review", review.page(asked, {"revisions": "HEAD~1...HEAD"}))
    assert '<li>created: <a href="/jobs/new">new</a>' in shown
    assert "You are woken <del>once</del><ins>&lt;b&gt;twice&lt;/b&gt;</ins> an hour." in shown


@pytest.mark.parametrize("revisions", ["nobody", "HEAD...--output=x", "...", EVIL])
def test_review_answers_an_unknown_revision_in_words(asked: ServiceRoot, revisions: str) -> None:
    with pytest.raises(UsageError):
        review.page(asked, {"revisions": revisions})


def test_a_second_review_at_once_is_refused_and_the_next_one_is_made(asked: ServiceRoot) -> None:
    refused = list[UnavailableError]()

    def make(*args: Any, **how: Any) -> Any:
        with pytest.raises(UnavailableError) as found:
            review.page(asked, {"revisions": "HEAD"}, recent)
        refused.append(found.value)
        return of_service(*args, **how)

    recent = Recent(make)
    assert review.page(asked, {"revisions": "HEAD"}, recent).texts == ()
    assert len(refused) == 1


def test_a_review_that_is_asked_for_again_is_made_once_a_minute_and_for_each_commit(asked: ServiceRoot) -> None:
    now, calls = [100.0], list[str]()

    def make(*args: Any, head: str, **how: Any) -> Any:
        calls.append(head)
        return of_service(*args, head=head, **how)

    recent = Recent(make, lambda: now[0])

    def ask(revisions: str) -> int:
        review.page(asked, {"revisions": revisions}, recent)
        return len(calls)

    git(asked.place.root, "commit", "-qm", "second", "--allow-empty")
    assert [ask("HEAD~1...HEAD") for _ in range(3)] == [1, 1, 1]
    git(asked.place.root, "commit", "-qm", "more", "--allow-empty")
    assert ask("HEAD~1...HEAD") == 2
    now[0] += LASTS
    assert ask("HEAD~1...HEAD") == 3


def test_review_draws_the_clock_of_jobs_that_run_at_other_times(asked: ServiceRoot, root: Root) -> None:
    root.edit("jobs/heartbeat.md", '"0 * * * *"', '"*/10 * * * *"')
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    root.write("jobs/off.yaml", 'id: off\nenabled: false\nschedule: "@daily"\ntask: hi\n')
    root.delete("jobs/flaky.yaml")
    root.commit()
    view = review.page(asked, {"revisions": "HEAD~1...HEAD"})
    found = {clock.job_id: clock for clock in view.clocks.shown}
    assert found.keys() == {"heartbeat", "new", "flaky"}
    assert (found["new"].before, found["flaky"].after, view.clocks.more) == (None, None, 0)
    shown = html("review", view)
    assert shown.count("<svg") == 4
    assert "▲ 6 times as many runs" in shown
    assert 'aria-label="after: every 10 minutes, Europe/Berlin; 4,320 runs in 30 days"' in shown


def test_review_draws_some_clocks_and_counts_the_others(asked: ServiceRoot, root: Root) -> None:
    jobs = [f'id: j{n}\nschedule: "@daily"\ntask: hi\n' for n in range(MOST_CLOCKS + 1)]
    root.write("jobs/many.yaml", "---\n".join(jobs))
    root.commit()
    shown = html("review", review.page(asked, {"revisions": "HEAD~1...HEAD"}))
    assert shown.count("<svg") == MOST_CLOCKS
    assert "1 more job runs at other times." in shown


def test_review_names_the_cost_of_30_days_by_what_recent_runs_have_cost(asked: ServiceRoot, root: Root) -> None:
    answer = '{"type": "result", "is_error": false, "result": "done", "session_id": "s", "total_cost_usd": 0.25}'
    runner = f"  paid:\n    command: [echo, {answer!r}]\n    result_format: claude\n"
    root.edit("scheduler.yaml", "  shell:\n", f"{runner}  shell:\n")
    root.write("jobs/paid.yaml", 'id: paid\nrunner: paid\nbudget: {per_run: 1}\nschedule: "0 9 * * *"\ntask: hi\n')
    root.commit()
    root.ok("sync")
    assert root.run("paid")["cost"]["amount"] == 0.25
    root.edit("jobs/paid.yaml", "0 9 ", "0 9,21 ")
    root.commit()
    view = review.page(asked, {"head": "HEAD", "base": "HEAD~1"})
    shown = html("review", view)
    assert [(each["before"], each["after"]) for each in view.review["costs"]] == [("7.5", "15")]
    assert '<td class="num">7.50 USD</td><td class="num">15.00 USD</td>' in shown
    assert '<td class="num">30.00 USD</td><td class="num">60.00 USD</td>' in shown
