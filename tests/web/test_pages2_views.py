"""The views of Spend, Explain, Health, Activity, Sync and Review, and what their templates make of them."""

from __future__ import annotations

import threading
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import jinja2
import pytest

import scheduler
from scheduler.core.values.problems import UnavailableError, UsageError
from scheduler.root.place import Place
from scheduler.service.doctor.lately import LASTS_S, Lately
from scheduler.service.history import activity, audit
from scheduler.service.root import Root as ServiceRoot
from scheduler.web.pages import activity as activity_page
from scheduler.web.pages import explain, health, review, spend, sync
from tests.faces.conftest import Root, clock, committed, root

__all__ = ["clock", "committed", "root"]
EVIL = '<script>alert("1")</script>\u202e'


def html(name: str, view: object) -> str:
    folder = Path(scheduler.__file__).parent / "web/templates"
    frame = "<title>{% block title %}{% endblock %}</title>{% block main %}{% endblock %}"
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({"frame.html": frame}), jinja2.FileSystemLoader(folder)])
    made = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return made.get_template(name).render(view=view)


@pytest.fixture
def asked(root: Root) -> ServiceRoot:
    root.ok("sync")
    state = root.path / ".scheduler"
    place = Place(root=root.path, state=state, db=state / "state.db")
    return ServiceRoot(place=place, actor="user:test", environ={}, clock=root.clock)


def test_explain_shows_the_answer_for_an_instant(asked: ServiceRoot) -> None:
    view = explain.page(asked, {"job": "heartbeat"})
    assert view.one is not None
    shown = html("explain.html", view)
    assert '<h1>Explain <a href="/jobs/heartbeat">heartbeat</a></h1>' in shown
    assert f'<time datetime="{view.one["at"]}">' in shown


def test_explain_shows_the_slots_of_a_window(asked: ServiceRoot) -> None:
    view = explain.page(asked, {"job": "heartbeat", "from": "-3h"})
    assert view.window is not None
    assert view.window["text"] in unescape(html("explain.html", view))


@pytest.mark.parametrize(
    "query", [{}, {"job": "nobody"}, {"job": "heartbeat", "at": EVIL}, {"job": "heartbeat", "to": "-1h"}]
)
def test_explain_answers_a_wrong_question_in_words(asked: ServiceRoot, query: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        explain.page(asked, query)


def test_spend_shows_an_empty_root(asked: ServiceRoot) -> None:
    assert "<p>Nothing was spent this month.</p>" in html("spend.html", spend.page(asked, {}))


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
    shown = html("spend.html", spend.View(spend=found))  # type: ignore[arg-type]
    assert "<script" not in shown
    assert "a run costs 2 USD (median of 6), before 1 (of 5)" in shown
    one = explain.page(asked, {"job": "heartbeat"}).one
    assert one is not None
    evil = explain.View(job=EVIL, one={**one, "text": EVIL, "held": EVIL})
    assert "<script" not in html("explain.html", evil)


def test_health_shows_every_check_and_how_long_it_took(asked: ServiceRoot) -> None:
    view = health.page(asked, {}, Lately())
    shown = html("health.html", view)
    assert view.doctor["checks"]
    assert shown.count("<tr class=") == len(view.doctor["checks"])
    assert f"in {view.took_ms} ms" in shown
    evil: Any = {**view.doctor, "checks": [{**view.doctor["checks"][0], "message": EVIL}]}
    assert "<script" not in html("health.html", replace(view, doctor=evil))


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


def test_activity_pages_through_every_row_once(asked: ServiceRoot) -> None:
    whole = [row["at"] + row["job_id"] + row["action"] for row in audit(asked)["audit"]][::-1]
    seen, before = list[str](), None
    while True:
        found = activity(asked, before=before, count=2)
        seen += [row["at"] + row["job_id"] + row["action"] for row in found["rows"]]
        before = found["before"]
        if before is None:
            break
    assert len(whole) > 2
    assert seen == whole


def test_activity_is_filtered_by_job_actor_and_action(asked: ServiceRoot, root: Root) -> None:
    root.ok("pause", "heartbeat")
    found = activity_page.page(asked, {"job": "heartbeat", "action": "pause"}).activity["rows"]
    assert [(row["job_id"], row["action"]) for row in found] == [("heartbeat", "pause")]
    actor = found[0]["actor"]
    assert {row["actor"] for row in activity_page.page(asked, {"actor": actor}).activity["rows"]} == {actor}
    assert activity_page.page(asked, {"actor": EVIL}).activity["rows"] == []


def test_activity_shows_its_filters_as_text(asked: ServiceRoot) -> None:
    view = activity_page.page(asked, {"actor": EVIL})
    assert "no changes" in html("activity.html", view)
    assert "<script" not in html("activity.html", view)
    assert "heartbeat" in html("activity.html", activity_page.page(asked, {}))


@pytest.mark.parametrize("cursor", ["x", "-1", "1.5", "9" * 40, "١"])
def test_activity_refuses_what_is_no_cursor(asked: ServiceRoot, cursor: str) -> None:
    with pytest.raises(UsageError):
        activity_page.page(asked, {"before": cursor})


def test_sync_shows_drift_problems_with_their_line_and_what_waits(asked: ServiceRoot, root: Root) -> None:
    root.ok("pause", "heartbeat", "--reason", "<b>quiet</b>")
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    root.write("jobs/bad.yaml", "id: bad\nschedule: <b>never</b>\ntask: hi\n")
    view = sync.page(asked, {})
    shown = html("sync.html", view)
    assert "<li>created: new</li>" in shown
    assert "<b>" not in shown
    assert "schedule: &lt;b&gt;never&lt;/b&gt;" in shown
    assert "<li>heartbeat: paused (&lt;b&gt;quiet&lt;/b&gt;)" in shown
    assert view.revisions[0].commit == root.git("rev-parse", "HEAD").strip()


def test_sync_names_what_the_guard_holds_by_its_count(asked: ServiceRoot, root: Root) -> None:
    root.delete("jobs/heartbeat.md", "jobs/triage.yaml", "jobs/flaky.yaml", "jobs/clock.yaml")
    view = sync.page(asked, {})
    assert view.plan["guard"] is not None
    shown = html("sync.html", view)
    assert "To archive 6 jobs:" in shown
    token = view.plan["guard"]["token"]
    assert f"<code>scheduler sync --confirm-prune {token}</code>" in shown
    root.ok("sync", "--confirm-prune", token)
    assert sync.page(asked, {}).plan["guard"] is None


def test_review_shows_changed_jobs_and_the_diff_of_a_text(asked: ServiceRoot, root: Root) -> None:
    root.edit("jobs/heartbeat.md", "once an hour", "<b>twice</b> an hour")
    root.write("jobs/new.yaml", 'id: new\nschedule: "@daily"\ntask: hi\n')
    root.commit()
    shown = html("review.html", review.page(asked, {}, "HEAD~1...HEAD"))
    assert "<li>created: new</li>" in shown
    assert "+You are woken &lt;b&gt;twice&lt;/b&gt; an hour." in shown


@pytest.mark.parametrize("revisions", ["nobody", "HEAD...--output=x", "...", EVIL])
def test_review_answers_an_unknown_revision_in_words(asked: ServiceRoot, revisions: str) -> None:
    with pytest.raises(UsageError):
        review.page(asked, {}, revisions)


def test_a_second_review_at_once_is_refused_and_the_next_one_is_made(asked: ServiceRoot) -> None:
    at_work = threading.Semaphore(1)
    with at_work, pytest.raises(UnavailableError):
        review.page(asked, {}, "HEAD", at_work)
    assert review.page(asked, {}, "HEAD", at_work).texts == ()
