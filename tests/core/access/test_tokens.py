"""The form of tokens and cookies, and when a token lets somebody in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.access.tokens import (
    check_jobs,
    check_name,
    cookie_name,
    digest,
    ends_soon,
    is_unused,
    lets_in,
    token_id_of,
    written_token,
)
from scheduler.core.values.access import Role, Token
from scheduler.core.values.problems import UsageError

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)
IDS = st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=10, max_size=10)
SECRETS = st.text("abcXYZ019_-", min_size=43, max_size=43)


def token(**facts: datetime | None) -> Token:
    made = {"created_at": NOW - DAY, "expires_at": None, **facts}
    return Token(id="a" * 10, name="ci", role=Role.VIEWER, jobs=(), created_by="user:ann", **made)  # type: ignore[arg-type]


@given(IDS, SECRETS)
def test_the_id_of_a_token_is_read_back(token_id: str, secret: str) -> None:
    assert token_id_of(written_token(token_id, secret)) == token_id


@given(st.text(max_size=80))
def test_any_other_text_has_no_id(text: str) -> None:
    assert token_id_of(text) is None
    assert token_id_of(written_token("a" * 10, "b" * 43) + (text or "x")) is None


@given(st.text(), st.text())
def test_a_digest_says_whether_two_texts_are_the_same(one: str, other: str) -> None:
    assert (digest(one) == digest(other)) == (one == other)


@pytest.mark.parametrize("name", ["", "-x", "a b", "a\n", "ä", "x" * 64, "a/b", "a:b"])
def test_a_name_that_could_be_taken_for_another_actor_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


def test_patterns_are_kept_once_and_none_is_empty() -> None:
    assert check_jobs(["a-*", "tag:x", "a-*"]) == ("a-*", "tag:x")
    with pytest.raises(UsageError):
        check_jobs([" "])


@given(st.text(), st.text())
def test_two_roots_have_two_cookies(one: str, other: str) -> None:
    names = {cookie_name(root, tls=tls) for root in {one, other} for tls in (False, True)}
    assert len(names) == 2 * len({one, other})
    assert cookie_name(one, tls=True) == f"__Host-{cookie_name(one, tls=False)}"


@given(st.integers(-200, 200), st.booleans())
def test_a_token_lets_somebody_in_until_it_expires_or_is_revoked(days: int, revoked: bool) -> None:
    made = token(expires_at=NOW + days * DAY, revoked_at=NOW if revoked else None)
    assert lets_in(made, NOW) == (days > 0 and not revoked)
    assert ends_soon(made, NOW) == (0 < days <= 7 and not revoked)


@given(st.integers(0, 200), st.one_of(st.none(), st.integers(0, 200)))
def test_a_token_is_unused_if_its_last_use_or_else_its_making_is_long_ago(made: int, used: int | None) -> None:
    found = token(created_at=NOW - made * DAY, last_used_at=None if used is None else NOW - used * DAY)
    assert is_unused(found, NOW) == ((made if used is None else used) >= 90)
