"""Every code that a page can show has words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import chain

import pytest

from scheduler.core.due.budgets import OVER
from scheduler.core.due.checked import NOTHING_TO_DO, WANTS_CHECK
from scheduler.core.due.expected import Kind
from scheduler.core.due.place import PLACE, Cause
from scheduler.core.due.waiting import OUTAGE
from scheduler.core.messages.phrases import event_words
from scheduler.core.past.codes import ACTIONS, REASONS, action_words, reason_words, state_words
from scheduler.core.past.outcome import STATES
from scheduler.core.values.events import EventKind
from scheduler.core.values.facts import Status, SyncState
from scheduler.core.values.runs import RunStatus
from scheduler.core.values.usage import CostBasis, EndClass
from scheduler.ledger.places import BACK, LOST
from tests.helpers import REPOSITORY
from tests.sources import PACKAGE, modules, name_of, nodes

TABLES = re.compile(r"^\| (?:skipped|failed|timed_out|cancelled|interrupted) \| ([^|]+) \|", re.MULTILINE)
OF_ACCESS = {"token_create", "token_revoke", "login"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    for node in chain.from_iterable(map(nodes, modules())):
        if isinstance(node, ast.Call):
            yield name_of(node), node


def literals(keyword: str, *names: str) -> set[str]:
    """The constants that are given for a keyword in calls of these names; of all, without one."""
    return {
        each.value.value
        for name, call in calls()
        for each in call.keywords
        if each.arg == keyword and (not names or name in names)
        if isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
    }


def test_every_reason_in_the_code_and_in_the_reference_has_words() -> None:
    reference = (REPOSITORY / "docs/reference/problems.md").read_text(encoding="utf-8")
    documented = {code for found in TABLES.findall(reference) for code in re.findall(r"`([a-z_0-9]+)`", found)}
    assert len(documented) > 40
    in_code = literals("reason", "Fault", "CheckFault", "Ending", "Outcome", "Skip", "replace", "put_back", "set_run")
    assert {"source_dirty", "runner_no_repository", "owner_died", "void"} <= in_code
    named = {OVER, NOTHING_TO_DO, WANTS_CHECK, PLACE, OUTAGE, *Cause, *EndClass}
    assert sorted((documented | in_code | named) - set(REASONS)) == []


def test_every_action_of_the_audit_has_words() -> None:
    given = literals("action", "AuditRow", "partial")
    places = {"audit_row": 1, "_set_pause": 2}
    arguments = [call.args[places[name]] for name, call in calls() if len(call.args) > places.get(name, 99)]
    asked = {each.value for each in arguments if isinstance(each, ast.Constant)}
    yielded = {
        node.value.elts[0].value
        for node in nodes(PACKAGE / "core/plan/audit.py")
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple)
        if isinstance(node.value.elts[0], ast.Constant)
    }
    assert {"test", "cancel"} <= asked
    assert {"update", "sync_state"} <= yielded
    told = {
        EventKind.FAILURE.value,
        EventKind.RECOVERY.value,
        EventKind.FLAPPING.value,
        LOST,
        BACK,
        "import",
        "alarm",
        "all_clear",
    }
    assert sorted(str(each) for each in (given | asked | yielded | told | OF_ACCESS) - set(ACTIONS)) == []


@pytest.mark.parametrize(
    "code", [*RunStatus, *SyncState, *Status, *CostBasis, *Kind, *STATES, "could_not_start", "under_way", "to_come"]
)
def test_a_state_is_told_without_underscores(code: str) -> None:
    assert "_" not in state_words(code)


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_event_has_words(kind: EventKind) -> None:
    assert "_" not in event_words(kind)


def test_what_another_program_named_keeps_its_name() -> None:
    assert reason_words("odd_reason") == "odd reason"
    assert action_words("odd") == "odd"
