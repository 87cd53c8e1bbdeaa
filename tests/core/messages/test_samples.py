"""Sample messages: one of each kind, and none that could be taken for what it shows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scheduler.core.messages.message import message_of
from scheduler.core.messages.payload import payload_of
from scheduler.core.messages.samples import SAMPLES, as_sample
from scheduler.core.values.channels import Detail
from scheduler.core.values.events import EventKind, Fit, Message, Subject
from tests.core.messages.test_messages import FITS, NTFY, SLACK, TOKEN, check_golden, check_message, printed, subject


def sample(kind: EventKind) -> Subject:
    return as_sample(subject(EventKind.TEST, facts={"sample": kind.value}))


@pytest.mark.parametrize("kind", SAMPLES[1:])
def test_a_sample_says_in_its_title_and_its_body_that_it_is_one(kind: EventKind) -> None:
    found = sample(kind)
    assert found.event.kind is kind
    real = replace(found, event=replace(found.event, facts={**found.event.facts}))
    del real.event.facts["sample"]  # type: ignore[attr-defined]
    for fit in FITS:
        for detail in Detail:
            message = message_of(found, fit, detail, token=TOKEN)
            check_message(message, fit)
            assert "] TEST: " in message.title
            assert message.body.startswith("this is a test message; none of this has happened")
            as_it_would_be = message_of(real, fit, detail, token=TOKEN)
            assert "TEST" not in as_it_would_be.title
            assert message.title == as_it_would_be.title.replace("] ", "] TEST: ", 1)


def test_a_sample_for_a_program_stays_a_test() -> None:
    found = payload_of(sample(EventKind.FAILURE), TOKEN)
    assert (found["kind"], found["facts"]["sample"]) == ("test", "failure")
    assert found["run"] is not None
    assert (found["run"]["id"], found["run"]["status"]) == ("example:7", "failed")


def test_every_kind_that_somebody_is_told_has_a_sample() -> None:
    assert {*SAMPLES} == {*EventKind} - {EventKind.STARTED}
    assert SAMPLES[0] is EventKind.TEST


@pytest.mark.parametrize("kind", ["test", "started", "nonsense", None, 3])
def test_nothing_else_becomes_a_sample(kind: object) -> None:
    asked = subject(EventKind.TEST, facts={"sample": kind})
    assert as_sample(asked) is asked


def test_no_real_event_becomes_a_sample() -> None:
    real = subject(EventKind.GUARD, facts={"sample": "failure"})
    assert as_sample(real) is real


def test_what_samples_look_like() -> None:
    shown = [f"=== {kind}\n{printed(shown_on(SLACK, kind))}" for kind in SAMPLES[1:]]
    shown += [f"=== success, ntfy\n{printed(shown_on(NTFY, EventKind.SUCCESS))}"]
    check_golden("samples", "\n".join(shown))


def shown_on(fit: Fit, kind: EventKind) -> Message:
    return message_of(sample(kind), fit, Detail.NORMAL, token=TOKEN)
