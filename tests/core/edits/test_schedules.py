"""A new schedule over an old one: what it does not name stays where it has a meaning, and nothing goes unsaid."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.edits.jobedit import Opened, edited
from scheduler.core.edits.schedules import reschedule, rescheduled, schedule_words
from scheduler.core.edits.spans import Change
from tests.core.edits.test_jobedit import SETTINGS

BERLIN = {"timezone": "Europe/Berlin"}
FULL = {
    "cron": "0 8 * * MON-FRI",
    **BERLIN,
    "jitter": "30s",
    "starts": "2027-01-01T00:00:00+01:00",
    "ends": "2027-12-31T00:00:00+01:00",
}
BESIDE = {key: value for key, value in FULL.items() if key != "cron"}
NIGHTLY = "0 3 * * *"
TWO = [{"cron": "0 8 * * *", **BERLIN, "jitter": "5s"}, {"cron": "0 20 * * *", **BERLIN, "jitter": "5s"}]
FAR = [{"cron": "0 8 * * *", **BERLIN}, {"cron": "0 8 * * *", "timezone": "Asia/Tokyo"}]


@pytest.mark.parametrize(
    ("old", "new", "value", "kept", "dropped"),
    [
        (FULL, NIGHTLY, {"cron": NIGHTLY, **BESIDE}, BESIDE, {}),
        (FULL, {"cron": NIGHTLY}, {"cron": NIGHTLY, **BESIDE}, BESIDE, {}),
        ({"cron": "@daily", **BERLIN}, {"cron": NIGHTLY, "timezone": "Asia/Tokyo"},
         {"cron": NIGHTLY, "timezone": "Asia/Tokyo"}, {}, {}),
        ({"cron": "@daily", **BERLIN}, {"cron": NIGHTLY, "timezone": None}, {"cron": NIGHTLY}, {}, {}),
        # another kind
        ({"cron": "@daily", **BERLIN, "jitter": "30s"}, {"every": "2h"}, {"every": "2h", "jitter": "30s"},
         {"jitter": "30s"}, BERLIN),
        (FULL, {"at": "2027-01-31T09:00:00Z"}, {"at": "2027-01-31T09:00:00Z", "jitter": "30s"}, {"jitter": "30s"},
         {key: FULL[key] for key in ("timezone", "starts", "ends")}),
        (FULL, "manual", "manual", {}, BESIDE),
        ({"every": "2h", "phase": "5m", "jitter": "1s"}, {"every": "4h"},
         {"every": "4h", "phase": "5m", "jitter": "1s"}, {"phase": "5m", "jitter": "1s"}, {}),
        ({"every": "2h", "phase": "5m", "jitter": "1s"}, NIGHTLY, {"cron": NIGHTLY, "jitter": "1s"}, {"jitter": "1s"},
         {"phase": "5m"}),
        # nothing beside it
        ("@daily", NIGHTLY, NIGHTLY, {}, {}),
        ("manual", NIGHTLY, NIGHTLY, {}, {}),
        (None, NIGHTLY, NIGHTLY, {}, {}),
        ({"cron": "@daily"}, NIGHTLY, {"cron": NIGHTLY}, {}, {}),
        # no kind: the one that is there
        ({"cron": "@daily", "jitter": "1s"}, BERLIN, {"cron": "@daily", **BERLIN, "jitter": "1s"},
         {"cron": "@daily", "jitter": "1s"}, {}),
        ("@daily", BERLIN, {"cron": "@daily", **BERLIN}, {"cron": "@daily"}, {}),
        ("manual", BERLIN, BERLIN, {}, {}),
        # lists
        ({"cron": "@daily", **BERLIN}, ["@daily", NIGHTLY], [{"cron": "@daily", **BERLIN}, {"cron": NIGHTLY, **BERLIN}],
         BERLIN, {}),
        ({"cron": "@daily", **BERLIN}, ["@daily", {"every": "2h"}], [{"cron": "@daily", **BERLIN}, {"every": "2h"}],
         BERLIN, {}),
        ({"cron": "@daily", "jitter": "9s"}, [NIGHTLY, {"every": "2h", "jitter": "3s"}],
         [NIGHTLY, {"every": "2h", "jitter": "3s"}], {}, {}),
        (TWO, NIGHTLY, {"cron": NIGHTLY, **BERLIN, "jitter": "5s"}, {**BERLIN, "jitter": "5s"}, {}),
        (FAR, NIGHTLY, NIGHTLY, {}, {"timezone": ["Europe/Berlin", "Asia/Tokyo"]}),
        (FAR, {"cron": NIGHTLY, **BERLIN}, {"cron": NIGHTLY, **BERLIN}, {}, {}),
        # what is no schedule is handed on
        (FULL, 5, 5, {}, {}), (FULL, {}, {}, {}, {}), (FULL, [], [], {}, {}), (FULL, [5], [5], {}, {}),
    ],
)  # fmt: skip
def test_what_is_not_named_stays_where_it_has_a_meaning(
    old: Any, new: Any, value: Any, kept: dict[str, Any], dropped: dict[str, Any]
) -> None:
    found = rescheduled(old, new)
    assert (found.value, dict(found.kept), dict(found.dropped)) == (value, kept, dropped)


ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "timezone": st.sampled_from(["Europe/Berlin", "Asia/Tokyo"]),
        "jitter": st.sampled_from(["1s", "2s"]),
        "starts": st.just("2027-01-01T00:00:00Z"),
        "ends": st.just("2028-01-01T00:00:00Z"),
    },
)
KINDS = st.sampled_from([{"cron": NIGHTLY}, {"every": "2h"}, {"at": "2027-06-01T00:00:00Z"}])
ONES = st.builds(lambda kind, beside: {**kind, **beside}, KINDS, ENTRIES)
ANY = st.one_of(st.just(NIGHTLY), st.just("manual"), ONES, st.lists(ONES | st.just(NIGHTLY), min_size=1, max_size=3))


@given(ANY, ANY)
def test_every_key_of_the_old_schedule_is_named_anew_kept_or_told_as_dropped(old: Any, new: Any) -> None:
    found = rescheduled(old, new)

    def beside(schedule: Any) -> set[str]:
        entries = schedule if isinstance(schedule, list) else [schedule]
        return {key for each in entries if isinstance(each, dict) for key in each} - {"cron", "every", "at"}

    assert beside(old) <= beside(new) | {*found.kept} | {*found.dropped}
    assert not {*found.kept} & {*found.dropped}
    assert beside(found.value) == beside(new) | {*found.kept}
    again = rescheduled(found.value, found.value)
    assert (again.value, dict(again.dropped)) == (found.value, {})


@pytest.mark.parametrize(
    ("old", "changes", "unset", "value", "left"),
    [
        (FULL, {"schedule.every": "2h"}, (), {"every": "2h", **{k: FULL[k] for k in ("jitter", "starts", "ends")}}, {}),
        ("@daily", {"schedule.every": "2h", "name": "x"}, (), {"every": "2h"}, {"name": "x"}),
        ({"cron": "@daily", **BERLIN}, {"schedule.every": "2h"}, ("schedule.cron",), {"every": "2h"}, {}),
        ({"every": "2h", "jitter": "1s"}, {"schedule.cron": "@daily"}, ("schedule.jitter",), {"cron": "@daily"}, {}),
    ],
)
def test_a_kind_by_its_own_key_takes_the_place_of_the_other(
    old: Any, changes: dict[str, Any], unset: tuple[str, ...], value: Any, left: dict[str, Any]
) -> None:
    found, rest, schedule = reschedule(old, changes, unset)
    assert schedule is not None
    assert (found, list(rest), schedule.value) == ({**left, "schedule": value}, [], value)


def test_a_part_can_be_unset_beside_a_new_schedule() -> None:
    found, unset, schedule = reschedule(FULL, {"schedule": NIGHTLY}, ("schedule.timezone", "schedule.jitter", "owner"))
    assert schedule is not None
    assert found["schedule"] == {"cron": NIGHTLY, "starts": FULL["starts"], "ends": FULL["ends"]}
    assert (list(unset), {*schedule.kept}, schedule.dropped) == (["owner"], {"starts", "ends"}, {})
    _, unset, _ = reschedule(TWO, {"schedule": NIGHTLY}, ("schedule.starts", "timezone"))
    assert list(unset) == ["schedule.starts", "timezone"], (
        "what is not there, or no part of it, is for others to refuse"
    )


@pytest.mark.parametrize(
    ("changes", "unset"),
    [
        ({"schedule.cron": NIGHTLY}, ()),
        ({"schedule.timezone": "UTC"}, ()),
        ({"schedule.0.cron": NIGHTLY}, ()),
        ({"schedule.crom": NIGHTLY}, ()),
        ({"schedule": None}, ()),
        ({"name": "x"}, ("schedule.jitter",)),
    ],
)
def test_other_edits_are_left_as_they_are(changes: dict[str, Any], unset: tuple[str, ...]) -> None:
    assert reschedule(FULL, changes, unset) == (changes, unset, None)


def test_comments_and_layout_stay() -> None:
    data = b"""\
id: a
schedule:   # when
  cron: "0 8 * * MON-FRI"  # on workdays
  timezone: Europe/Berlin  # where we sit

  jitter: 30s
task: x  # the task
"""
    assert SETTINGS is not None
    job = Opened("jobs/a.yaml", data, 0, SETTINGS)
    for new, lines in (
        (NIGHTLY, [(b'"0 8 * * MON-FRI"', b'"0 3 * * *"')]),
        ({"cron": NIGHTLY, "timezone": "UTC"}, [(b'"0 8 * * MON-FRI"', b'"0 3 * * *"'), (b"Europe/Berlin", b"UTC")]),
    ):
        expected = data
        for before, after in lines:
            expected = expected.replace(before, after)
        assert edited(job, [Change(("schedule",), rescheduled(job.keys["schedule"], new).value)]) == expected
    every = edited(job, [Change(("schedule",), rescheduled(job.keys["schedule"], {"every": "2h"}).value)])
    assert every == b"id: a\nschedule:   # when\n\n  jitter: 30s\n  every: 2h\ntask: x  # the task\n"


def test_keys_are_told_as_a_person_writes_them() -> None:
    assert schedule_words({**BERLIN, "jitter": "30s"}) == "timezone Europe/Berlin, jitter 30s"
    assert schedule_words({"timezone": ["Europe/Berlin", "Asia/Tokyo"]}) == "timezone Europe/Berlin and Asia/Tokyo"
