"""Fields of a source, whatever is in them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from scheduler.core.imports.incoming import channel_names
from scheduler.core.imports.records import Record, read_skill


@pytest.mark.parametrize(
    "value", [10**400, -(10**400), 2**63, 1e308, float("inf"), float("nan"), 0, -1, 1e-9, True, "5", None, [5]]
)
def test_a_number_that_is_no_duration_is_not_read_and_never_crashes(value: Any) -> None:
    record = Record({"minutes": value})
    assert record.duration("minutes", timedelta(minutes=1)) is None
    assert bool(record.lost()) is (value is not None)


def test_a_duration_is_a_number_of_units() -> None:
    assert Record({"a": 1.5}).duration("a", timedelta(minutes=1)) == timedelta(seconds=90)


def test_front_matter_that_is_no_yaml_is_read_line_by_line() -> None:
    head, prompt = read_skill(
        "---\nname: standup\ndescription: Drafts it: yesterday, today\n"
        "allowed-tools:\n  - Bash\n# a comment\nargument: [a\n---\n\nGo.\n"
    )
    assert (head.text("name"), head.text("description")) == ("standup", "Drafts it: yesterday, today")
    assert ([each.name for each in head.lost()], prompt) == (["allowed-tools", "argument"], "Go.\n")


@pytest.mark.parametrize("text", ["--- no fence ---\nGo.\n", "----\nGo.\n"])
def test_a_prompt_that_begins_with_dashes_has_no_front_matter(text: str) -> None:
    head, prompt = read_skill(text)
    assert (head.lost(), prompt) == ((), text)


def test_a_channel_is_proposed_by_a_name_that_it_can_have() -> None:
    assert channel_names(["whatsapp", "+15551234567"]) == ["whatsapp-15551234567", "15551234567"]
    assert channel_names(["telegram", "the whole team"]) == ["telegram-the-whole-team", "the-whole-team"]
    assert channel_names(["slack", "#ops"]) == ["slack-ops", "ops"]
    assert channel_names(["telegram", "-100123"]) == ["telegram-100123", "100123"]
    assert channel_names(["signal", "мир"]) == ["signal"]
    assert channel_names(["мир"]) == ["results"]
    assert all(len(each) <= 64 for each in channel_names(["slack", "x" * 200]))
