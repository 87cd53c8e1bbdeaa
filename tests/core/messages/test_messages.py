"""What people are told: every kind of event as services show it, the limits, and what hostile text does not achieve."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.messages.cut import size_of
from scheduler.core.messages.digest import digest_of, recovered_of
from scheduler.core.messages.message import message_of
from scheduler.core.messages.payload import payload_of
from scheduler.core.messages.results import MOST_ATTACHED, result_of, without_marks
from scheduler.core.messages.services import fit_of, short_fit
from scheduler.core.values.channels import Detail
from scheduler.core.values.events import ChangeSince, Event, EventKind, Fit, Markup, Message, Phase, Subject
from scheduler.core.values.facts import Commit, Provenance
from scheduler.core.values.runs import Attempt, Run, RunStatus, Trigger
from scheduler.core.values.settings import ROOT_JOB_ID
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, EndClass, ResultFormat
from tests.core.messages.test_cut import check_fences, check_safe, hostile

GOLDEN = Path(__file__).parents[2] / "golden" / "messages"
AT = datetime(2027, 3, 2, 10, 0, 41, tzinfo=UTC)
SLOT = datetime(2027, 3, 2, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SLACK, DISCORD, TELEGRAM = fit_of("slack"), fit_of("discord"), fit_of("tgram")
NTFY, PUSHOVER, MAIL, SMS = fit_of("ntfys"), fit_of("pover"), fit_of("mailtos"), fit_of("d7sms", most=160, most_title=0)
FITS = (SLACK, DISCORD, TELEGRAM, NTFY, PUSHOVER, MAIL, SMS)
TOKEN = "msg_k3f9Q2"
COMMIT = Commit(id="8c8c005" + "0" * 33, author="Ada", email="ada@example.com", date=AT - DAY, subject="shorter prompt")
AGENT = AgentResult(
    format=ResultFormat.CLAUDE, end_class=EndClass.OK, model_asked="sonnet", model_served="claude-sonnet-4-5"
)
ANSWER = """\
# Inbox, 2 March

**3 mails** need an answer:

1. [Invoice 4711](https://mail.example.com/4711), due *today*
2. `deploy` failed twice

| sender | about | age |
|---|---|---:|
| Grace | the budget of the second quarter | 2 d |
| Edsger | goto | 5 h |

```sh
git revert 8c8c005
```
Nothing else.
"""


def run(status: RunStatus = RunStatus.FAILED, **known: Any) -> Run:
    code = {RunStatus.FAILED: 3, RunStatus.SUCCEEDED: 0}.get(status)
    values: dict[str, Any] = {
        "n": 12,
        "job_id": "heartbeat",
        "fire_time": SLOT,
        "requested_at": SLOT,
        "trigger": Trigger.SCHEDULE,
        "status": status,
        "started_at": SLOT,
        "finished_at": AT,
        "duration_ms": 41_200,
        "exit_code": code,
        "error": "exit code 3: ConnectionError: connection refused" if code else None,
        "attempts": tuple(Attempt(n=n, status=status, started_at=SLOT) for n in (1, 2, 3)),
        "generation": 4,
        "provenance": Provenance(),
    }
    return Run(**{**values, **known})


def subject(
    kind: EventKind, *, phase: Phase = Phase.ONCE, facts: Mapping[str, Any] | None = None, **known: Any
) -> Subject:
    """An event of the job heartbeat with the run it is about; or of the root, if the run is None."""
    found: Run | None = known.pop("run", None)
    about = {name: known.pop(name) for name in ("since", "times", "at") if name in known}
    job_id = known.pop("job_id", ROOT_JOB_ID if found is None else found.job_id)
    event = Event(
        **{"at": AT, **about},
        key=f"{kind}/{job_id}",
        kind=kind,
        phase=phase,
        job_id=job_id,
        run_n=None if found is None else found.n,
        facts=facts or {},
    )
    values: dict[str, Any] = {"root": "prompts-prod", "host": "vm3", "timezone": "America/Los_Angeles", "run": found}
    if job_id == ROOT_JOB_ID:
        values["timezone"] = "UTC"
    return Subject(event=event, **{**values, **known})


COST = Cost(amount=Decimal("0.4213"), currency="USD", basis=CostBasis.REPORTED)
FAILED = subject(
    EventKind.FAILURE,
    run=run(cost=COST, agent=None),
    tries=3,
    stderr=(*(f"line {n}" for n in range(15)), "ConnectionError: connection refused"),
    change=ChangeSince(what="text", to="3f9c2a" + "0" * 58, commit=COMMIT),
    link="https://sched.internal/runs/heartbeat:12",
)
SUCCEEDED = subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, agent=AGENT, cost=COST, result=ANSWER))
SKIPPED = run(RunStatus.SKIPPED, reason="overlap", attempts=(), duration_ms=None, slots=5, fire_time_last=AT)
NO_FILE = run(
    RunStatus.SKIPPED,
    reason="source_missing",
    attempts=(),
    duration_ms=None,
    error="prompts/heartbeat.md does not exist",
)
SINCE: dict[str, Any] = {"since": AT - DAY, "times": 31}
TOLD = {"text": "HEAD is on wip, and worktree.branch is main", "hint": "check out that branch"}
SUBJECTS = {
    "failure": FAILED,
    "failure-lasts": replace(FAILED, event=replace(FAILED.event, phase=Phase.LASTS, **SINCE)),
    "failure-without-run": replace(
        FAILED,
        run=None,
        stderr=(),
        event=replace(FAILED.event, facts={"status": "failed", "error": "exit code 1: boom", "exit_code": 1}),
    ),
    "failure-to-start": subject(EventKind.FAILURE, run=NO_FILE),
    "stopped": replace(
        FAILED,
        event=replace(
            FAILED.event, kind=EventKind.STOPPED, times=5, since=AT - DAY, facts={"stop_reason": "5 failures in a row"}
        ),
    ),
    "recovery": subject(EventKind.RECOVERY, run=run(RunStatus.SUCCEEDED), **SINCE),
    "success": SUCCEEDED,
    "success-again": replace(SUCCEEDED, event=replace(SUCCEEDED.event, phase=Phase.ENDS, **SINCE)),
    "success-empty": subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, result="\n")),
    "skip": subject(EventKind.SKIP, run=SKIPPED),
    "flapping": subject(EventKind.FLAPPING, phase=Phase.BEGINS, job_id="heartbeat", since=AT - DAY / 24, times=4),
    "flapping-run": replace(
        FAILED, event=replace(FAILED.event, kind=EventKind.FLAPPING, phase=Phase.LASTS, since=AT - DAY / 24, times=4)
    ),
    "overdue": subject(
        EventKind.OVERDUE,
        phase=Phase.BEGINS,
        job_id="heartbeat",
        since=AT - DAY,
        facts={"text": "no success since 2027-03-01T10:00:41Z; expect_every is 1d"},
    ),
    "all-clear": subject(EventKind.ALL_CLEAR, phase=Phase.ENDS, job_id="heartbeat", since=AT - DAY),
    "over-budget": subject(
        EventKind.OVER_BUDGET, phase=Phase.BEGINS, job_id="heartbeat", facts={"text": "per_day: 5.10 USD of 5.00 USD"}
    ),
    "other-model": subject(
        EventKind.OTHER_MODEL, run=run(RunStatus.SUCCEEDED, agent=replace(AGENT, model_asked="opus"), result="Done.")
    ),
    "problems": subject(
        EventKind.PROBLEMS,
        phase=Phase.BEGINS,
        facts={
            "text": "2 errors in the files",
            "members": [
                "jobs/a.md:7:10: hour 25 is outside 0-23 [schedule.range]",
                "jobs/b.md:1:1: no task [task.empty]",
            ],
        },
    ),
    "guard": subject(
        EventKind.GUARD,
        phase=Phase.BEGINS,
        facts={
            "text": "the pass would archive 12 of 14 jobs",
            "hint": "`scheduler sync --confirm-prune 5f2e` archives them",
        },
    ),
    "held": subject(EventKind.HELD, phase=Phase.LASTS, facts=TOLD, since=AT - DAY),
    "remote": subject(EventKind.REMOTE, phase=Phase.ENDS, since=AT - timedelta(minutes=134)),
    "silent": subject(EventKind.SILENT, phase=Phase.BEGINS, facts={"text": "the disk is full"}),
    "backup": subject(EventKind.BACKUP, phase=Phase.BEGINS, facts={"text": "the newest backup is 3 days old"}),
    "place": subject(EventKind.PLACE, phase=Phase.BEGINS, facts={"text": "account 'team': the limit is reached"}),
    "channel": subject(
        EventKind.CHANNEL,
        phase=Phase.BEGINS,
        facts={"channel": "owner", "text": "401: invalid token", "hint": "`scheduler channels test owner`"},
    ),
    "test": subject(EventKind.TEST, facts={"text": "If you read this, the channel works."}),
}


def printed(message: Message) -> str:
    attached = "" if message.attachment is None else f"\n[attached: {message.attachment.name}]"
    return f"{message.title}\n{'-' * len(message.title)}\n{message.body}{attached}\n"


def check_golden(name: str, text: str) -> None:
    if os.environ.get("GOLDEN") == "write":
        GOLDEN.mkdir(exist_ok=True)
        (GOLDEN / f"{name}.txt").write_text(text)
    assert text == (GOLDEN / f"{name}.txt").read_text()


def check_message(message: Message, fit: Fit) -> None:
    """What holds of every message."""
    title = size_of(message.title, in_bytes=fit.in_bytes) + 2
    assert size_of(message.body, in_bytes=fit.in_bytes) + (0 if fit.most_title else title) <= fit.most
    assert len(message.title) <= (fit.most_title or 250)
    assert message.body
    check_safe(message.title, lines=False)
    check_safe(message.body, lines=True)
    if fit.markup is Markup.MARKDOWN:
        check_fences(message.body)


@pytest.mark.parametrize("name", SUBJECTS)
def test_each_kind_of_event(name: str) -> None:
    shown: list[str] = []
    for fit, detail in ((SLACK, Detail.SHORT), (SLACK, Detail.NORMAL), (NTFY, Detail.NORMAL), (MAIL, Detail.FULL)):
        message = message_of(SUBJECTS[name], fit, detail, token=TOKEN)
        check_message(message, fit)
        text = f"=== {fit.service}, {detail}\n{printed(message)}"
        if not shown or text.partition("\n")[2] != shown[-1].partition("\n")[2]:
            shown.append(text)
    check_golden(name, "\n".join(shown))


def test_every_kind_has_a_message() -> None:
    told = {each.event.kind for each in SUBJECTS.values()}
    assert told == set(EventKind) - {EventKind.STARTED}
    for phase in Phase:
        for each in SUBJECTS.values():
            message = message_of(
                replace(each, event=replace(each.event, phase=phase)), PUSHOVER, Detail.FULL, token="x"
            )
            check_message(message, PUSHOVER)


RESULTS = {
    "markdown": (ANSWER, AGENT),
    "object": (json.dumps({"result": "**All** fine.", "cost": 3}), None),
    "object-without-text": (json.dumps({"checked": 3, "state": "fine", "failed": []}), None),
    "text": ("2 files copied\n<b>done</b>\n", None),
}


@pytest.mark.parametrize("name", RESULTS)
def test_each_kind_of_result(name: str) -> None:
    text, agent = RESULTS[name]
    found = subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, result=text, agent=agent))
    shown = [
        f"=== {fit.service}\n{printed(message_of(found, fit, Detail.NORMAL, token=TOKEN))}"
        for fit in (SLACK, NTFY, MAIL)
    ]
    check_golden(f"result-{name}", "\n".join(shown))


def failures(n: int) -> list[Subject]:
    """Of n jobs, one a second, two causes; the last of them has failed twice."""
    found = []
    for number in range(n):
        error = "exit code 1: connection refused" if number % 5 else "not finished after 1m; ended by SIGTERM"
        of = run(job_id=f"job-{min(number, n - 2)}", error=error, exit_code=1 if number % 5 else None)
        found.append(subject(EventKind.FAILURE, run=of, at=AT + timedelta(seconds=number)))
    return found


def test_a_digest() -> None:
    recovered = subject(EventKind.RECOVERY, run=run(RunStatus.SUCCEEDED, job_id="mail"), at=AT + timedelta(minutes=1))
    *failed, last = failures(17)
    stopped = replace(last, event=replace(last.event, kind=EventKind.STOPPED))
    mixed = [*failed, stopped, recovered, SUBJECTS["silent"]]
    shown = []
    for fit, detail in ((SLACK, Detail.NORMAL), (NTFY, Detail.SHORT)):
        message = digest_of(mixed, fit, detail, token=TOKEN)
        check_message(message, fit)
        shown.append(f"=== {fit.service}, {detail}\n{printed(message)}")
    check_golden("digest", "\n".join(shown))


def test_a_failure_that_has_recovered_before_it_was_told() -> None:
    since = AT.replace(hour=3, minute=0, second=0)
    failed = [replace(FAILED, event=replace(FAILED.event, at=since + n * timedelta(minutes=65))) for n in range(3)]
    recovery = subject(EventKind.RECOVERY, run=run(RunStatus.SUCCEEDED), since=since, times=12, at=since + DAY / 10)
    message = recovered_of(failed, recovery, SLACK, Detail.NORMAL, token=TOKEN)
    check_message(message, SLACK)
    assert message.body.startswith("failed 12 times, 03:00–05:10 UTC; well again since 05:24 UTC\n")
    check_golden("recovered", printed(message))


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.service)
def test_a_thousand_events_fit_everywhere(fit: Fit) -> None:
    message = digest_of(failures(1_000), fit, Detail.NORMAL, token=TOKEN)
    check_message(message, fit)
    assert "1,000 failures" in message.title


@given(
    st.sampled_from(FITS).flatmap(lambda fit: st.sampled_from((fit, short_fit(fit)))),
    st.sampled_from(list(Detail)),
    st.sampled_from([EventKind.FAILURE, EventKind.SUCCESS, EventKind.OTHER_MODEL, EventKind.RECOVERY]),
    st.tuples(hostile, hostile, hostile),
    st.booleans(),
)
def test_hostile_text_is_only_text(
    fit: Fit, detail: Detail, kind: EventKind, texts: tuple[str, str, str], is_agent: bool
) -> None:
    first, second, third = texts
    agent = replace(AGENT, model_served=first) if is_agent else None
    bad = subject(
        kind,
        run=run(error=f"exit code 1: {first}", result=second * 40, agent=agent, reason=first),
        job_name=third,
        root=first,
        stderr=(first, second, third),
        change=ChangeSince(what="text", to="0" * 64, commit=replace(COMMIT, author=second, subject=third)),
        link=f"https://x/{first}",
        facts={"text": second, "hint": third, "members": [first]},
    )
    message = message_of(bad, fit, detail, token=second, again=True)
    check_message(message, fit)
    assert not set(message.title[1:]) & set("<>`*|~\\")
    both = digest_of([bad, bad, replace(bad, event=replace(bad.event, kind=EventKind.GUARD))], fit, detail, token=third)
    check_message(both, fit)


@pytest.mark.parametrize(
    ("known", "line"),
    [
        ({"error": "exit code 1: boom", "exit_code": 1}, "exit code 1 after 41s"),
        ({"error": "ended by SIGSEGV", "exit_code": None}, "ended by SIGSEGV after 41s"),
        ({"error": "the file out.txt is missing", "exit_code": 0}, "failed after 41s"),
        ({"error": "not finished after 41s; ended by SIGTERM", "status": RunStatus.TIMED_OUT}, "timed out after 41s"),
        (
            {"error": "usage limit", "end_class": EndClass.QUOTA, "agent": AGENT},
            "the account's limit is reached · took 41s",
        ),
        ({"error": None, "exit_code": None, "status": RunStatus.INTERRUPTED, "duration_ms": None}, "interrupted"),
    ],
)
def test_how_a_run_ended_in_words(known: dict[str, Any], line: str) -> None:
    message = message_of(replace(FAILED, run=run(**known)), NTFY, Detail.SHORT, token=TOKEN)
    assert message.body.startswith(f"{line} · try 3 of 3 · 2027-03-02 02:00 PST (10:00 UTC)\n")


@pytest.mark.parametrize(
    ("at", "zone", "said"),
    [
        (SLOT, "UTC", "2027-03-02 10:00 UTC"),
        (SLOT, "Asia/Tokyo", "2027-03-02 19:00 JST (10:00 UTC)"),
        (SLOT.replace(hour=20), "Asia/Tokyo", "2027-03-03 05:00 JST (2027-03-02 20:00 UTC)"),
        (SLOT, "America/Sao_Paulo", "2027-03-02 07:00 America/Sao_Paulo (10:00 UTC)"),  # whose short name is -03
        (AT, "UTC", "2027-03-02 10:00:41 UTC"),
    ],
)
def test_a_fire_time_always_has_its_zone_and_utc(at: datetime, zone: str, said: str) -> None:
    found = replace(FAILED, run=run(fire_time=at), timezone=zone)
    assert f"· {said}\n" in message_of(found, NTFY, Detail.SHORT, token=TOKEN).body


def test_a_title_keeps_its_meaning_however_long_the_names() -> None:
    long = replace(FAILED, job_name="a very long name " * 20, root="r" * 300)
    for fit in (SLACK, replace(SLACK, most_title=60)):
        title = message_of(long, fit, Detail.SHORT, token=TOKEN, again=True).title
        assert len(title) <= fit.most_title
        assert title.startswith("[rrr")
        assert title.endswith("… failed (sent again)")


def test_a_name_cannot_pose_as_a_link() -> None:
    found = replace(FAILED, job_name="[click](http://evil) <http://evil|here> `x` **b**")
    assert message_of(found, SLACK, Detail.SHORT, token=TOKEN).title == (
        "[prompts-prod] (click)(http://evil) ‹http://evil¦here› 'x' ∗∗b∗∗ failed"
    )


@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.service)
@pytest.mark.parametrize("text", ["# x\n" + "word " * 20 + "\n", "`[a|*_![(\\\x1b["], ids=["lines", "signs"])
@pytest.mark.parametrize("agent", [AGENT, None], ids=["agent", "program"])
def test_five_megabytes_are_cut_and_counted(fit: Fit, text: str, agent: AgentResult | None) -> None:
    large = text * (5_000_000 // len(text))
    found = subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, result=large, agent=agent))
    message = message_of(found, fit, Detail.FULL, token=TOKEN)
    check_message(message, fit)
    if fit is not SMS:
        assert f" of {len(large.strip()):,} characters left out; whole: scheduler output heartbeat:12" in message.body
    if fit.attaches:
        assert message.attachment is not None
        assert 900_000 < size_of(message.attachment.text, in_bytes=True) <= MOST_ATTACHED


def test_a_long_answer_is_attached_where_the_channel_wants_it_whole() -> None:
    text = "- one more line of an answer\n" * 1_500
    found = subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, result=text, agent=AGENT))
    full = message_of(found, MAIL, Detail.FULL, token=TOKEN)
    assert full.attachment is not None
    assert full.attachment.name == "heartbeat-12.md"
    assert full.attachment.text == text
    assert message_of(found, MAIL, Detail.NORMAL, token=TOKEN).attachment is None
    assert message_of(found, SLACK, Detail.FULL, token=TOKEN).attachment is None
    assert message_of(SUCCEEDED, MAIL, Detail.FULL, token=TOKEN).attachment is None
    rows = json.dumps([[]] * 3 + [{}]).join(["{", "}"])
    assert result_of(run(result=rows)) is not None  # what looks like an object and is none
    nested = subject(EventKind.SUCCESS, run=run(RunStatus.SUCCEEDED, result='{"a":' * 100_000))
    check_message(message_of(nested, SLACK, Detail.FULL, token=TOKEN), SLACK)


@pytest.mark.parametrize("name", SUBJECTS)
@pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.service)
def test_the_short_form_has_at_most_a_thousand_bytes(fit: Fit, name: str) -> None:
    short = short_fit(fit)
    wide = replace(SUBJECTS[name], job_name="\U0001f600" * 300, root="\U0001f600" * 300)
    wide = replace(wide, event=replace(wide.event, facts={**wide.event.facts, "text": "\U0001f600" * 900}))
    message = message_of(wide, short, Detail.SHORT, token=TOKEN, again=True)
    check_message(message, short)
    assert size_of(message.title + message.body, in_bytes=True) <= 1_000
    assert message.attachment is None
    assert "#k3f9" in message.body or fit is SMS


def test_marks_are_taken_off_where_they_would_show() -> None:
    text = "## Done\n> **bold** and *slanted* `code`, 2 * 3 * 4 > 1, a_b_c\n\n```py\n**kwargs\n```\n---\n[t](http://x)"
    assert without_marks(text) == "Done\nbold and slanted code, 2 * 3 * 4 > 1, a_b_c\n\n**kwargs\nt (http://x)"


def test_the_payload_has_the_shapes_of_the_interface() -> None:
    found = payload_of(FAILED, TOKEN)
    assert json.loads(json.dumps(found)) == found
    assert found["run"] is not None
    assert found["change"] is not None
    assert (found["token"], found["kind"], found["phase"], found["at"]) == (
        TOKEN,
        "failure",
        "once",
        "2027-03-02T10:00:41Z",
    )
    assert (found["job_id"], found["run"]["id"], found["run"]["exit_code"]) == ("heartbeat", "heartbeat:12", 3)
    assert found["change"]["commit"] == {**COMMIT.to_json()}
    assert payload_of(SUBJECTS["guard"], TOKEN)["job_id"] is None


def test_a_service_has_its_own_limits_or_those_that_are_described() -> None:
    assert (SLACK.most, TELEGRAM.most, DISCORD.most, NTFY.most, NTFY.in_bytes, MAIL.most) == (
        *(3_000, 3_500, 1_800, 3_500, True, 32_768),
    )
    assert not SLACK.attaches
    assert not fit_of("ntfy", attaches=True).attaches
    other = fit_of("gotify", service="Gotify", most=10**9, markup=Markup.MARKDOWN)
    assert (other.service, other.most, other.markup) == ("Gotify", 32_768, Markup.MARKDOWN)
    assert fit_of("x", most=0).most == 160
