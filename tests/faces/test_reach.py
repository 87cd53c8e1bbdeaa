"""Channels where people look: a dead one, messages that wait, and a root of which nobody hears."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from scheduler.core.due.events import News
from scheduler.core.due.reach import MANY
from scheduler.core.values.events import Event, EventKind
from scheduler.ledger import told
from scheduler.ledger.store import Store
from tests.faces.conftest import Root
from tests.faces.test_cli import unheard
from tests.faces.test_operator import on_terminal


@pytest.fixture
def quiet(root: Root) -> Root:
    unheard(root)
    return root


def checks(root: Root) -> list[tuple[str, str, str]]:
    found = root.cli("doctor", "--json").json["checks"]
    return [(each["status"], each["message"], each["hint"]) for each in found if each["name"] in ("alerts", "delivery")]


def dead(root: Root) -> list[Any]:
    return [each["name"] or each["job_id"] for each in root.json("status")["channels"]["dead"]]


def test_a_dead_channel_is_in_every_place_where_people_look(quiet: Root) -> None:
    found = quiet.json("status")
    assert found["channels"] == {
        "total": 3,
        "dead": [
            {
                "name": "mail", "job_id": None, "since": "2026-03-02T09:02:00Z",
                "error": "HTTP 401 Unauthorized: wrong password",
                "message": "channel mail has been dead since 2026-03-02T09:02:00Z:"
                " HTTP 401 Unauthorized: wrong password; 1 message waiting",
                "hint": "run `scheduler channels test mail`",
            },
            {
                "name": None, "job_id": "flaky", "since": "2026-03-02T09:02:00Z", "error": "HTTP 404 Not Found",
                "message": "the ping of flaky has been dead since 2026-03-02T09:02:00Z:"
                " HTTP 404 Not Found; 2 messages waiting",
                "hint": "check its URL: `scheduler show flaky`",
            },
        ],
        "waiting": 3,
        "oldest_at": "2026-03-02T08:32:00Z",
    }  # fmt: skip
    assert (found["healthy"], found["exit_code"], found["attention"][-1]) == (False, 1, "2 channels are dead")
    told_by_list = quiet.json("list")["troubles"]
    for each in found["channels"]["dead"]:
        assert ("error", each["message"], each["hint"]) in checks(quiet)
        assert f"{each['message']}; {each['hint']}" in told_by_list


def test_a_channel_that_was_edited_or_deleted_is_not_dead(quiet: Root) -> None:
    assert dead(quiet) == ["mail", "flaky"]
    quiet.edit("scheduler.yaml", "${env:SMTP}", "${env:SMTP_LOGIN}")
    quiet.edit("jobs/flaky.yaml", "ping: '${env:HC}'\n", "")
    quiet.sync()
    assert dead(quiet) == []
    (mail,) = (each for each in quiet.json("channels", "list")["channels"] if each["name"] == "mail")
    assert (mail["dead_since"], mail["waiting"]) == (None, 1)
    assert not any(status == "error" for status, _, _ in checks(quiet))
    assert not any("channel" in each for each in quiet.json("list")["troubles"])


def test_doctor_warns_of_messages_that_wait_for_too_long_or_are_too_many(quiet: Root) -> None:
    def late(channel: str) -> bool:
        hint = f"is the daemon running? `scheduler deliveries --channel {channel}` shows them"
        return any(status == "warning" and told_hint == hint for status, _, told_hint in checks(quiet))

    def wait(n: int, channel: str) -> None:
        now = quiet.clock.now()
        keys = (f"{channel}/{next(numbers)}" for _ in range(n))
        events = (Event(key=each, at=now, kind=EventKind.SUCCESS, job_id="tick") for each in keys)
        with Store.open(quiet.db, create=False) as store, store.writing() as sql:
            told.tell(sql, [News(event=each, channels=(channel,), audited=False) for each in events], now=now)

    numbers = itertools.count()
    wait(MANY, "ci")
    wait(1, "old")
    assert (late("ci"), late("old")) == (False, False)
    wait(1, "ci")
    assert (late("ci"), late("old")) == (True, False)
    quiet.clock.advance(timedelta(hours=1, seconds=1))
    assert late("old")
    assert not late("mail"), "it is dead, which says more"


def test_doctor_warns_of_a_root_of_which_nobody_hears(quiet: Root) -> None:
    def deaf() -> list[str]:
        return [hint for status, message, hint in checks(quiet) if "nobody is told" in message and status == "warning"]

    assert deaf() == ["add `alerts: {deliver: [ci]}` to scheduler.yaml"]
    quiet.edit("scheduler.yaml", "channels:", "alerts: {deliver: [ci]}\nchannels:")
    quiet.sync()
    assert deaf() == []
    quiet.edit("scheduler.yaml", "alerts: {deliver: [ci]}\n", "")
    quiet.edit("scheduler.yaml", ", deliver: [mail, ci]", "")
    quiet.sync()
    assert deaf() == [], "no job delivers anything either"


def test_nothing_is_said_of_channels_where_there_are_none(root: Root) -> None:
    before = root.json("status")["channels"]
    assert (before["total"], "channels" in root.ok("status").stdout) == (0, False)
    root.sync()
    assert root.json("status")["channels"] == before == {"total": 0, "dead": [], "waiting": 0, "oldest_at": None}
    assert checks(root) == []


def test_a_root_that_was_never_synced_has_the_channels_of_its_file(root: Root) -> None:
    root.edit("scheduler.yaml", "runners:", "channels: {log: {command: [cat]}}\nrunners:")
    assert root.json("status")["channels"]["total"] == 1
    assert "channels 1\n" in root.ok("status").stdout


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("channels list", "HTTP 401 Unauthorized: wrong password"),
        ("channels test mail --dry-run --kind failure", "TEST: example failed"),
        ("deliveries", "delivered"),
        ("status", "HTTP 401 Unauthorized: wrong password"),
        ("doctor", "channel mail has been dead"),
    ],
)
def test_at_80_columns_no_line_wraps_and_the_error_is_left(quiet: Root, command: str, needs: str) -> None:
    lines = on_terminal(quiet, *command.split())
    assert not [line for line in lines if len(line) > 80]
    assert any(needs in line for line in lines), "\n".join(lines)
