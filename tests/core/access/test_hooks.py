"""Which webhooks are genuine: by the reference library for Standard Webhooks, and by hand for the forges."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from scheduler.core.access.hooks import Bad, Genuine, check_hook, is_signed, secrets_in, weak

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SECRET, OTHER = "s3cret-of-16-chars", "another-16-chars-x"
STANDARD = "whsec_" + base64.b64encode(b"24 bytes of a secret key").decode()
PUSH = b'{"ref": "refs/heads/main", "before": "0a1b", "after": "2c3d", "repository": {"full_name": "ops/jobs"}}'


def mac(body: bytes = PUSH, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


GITHUB = {"X-GitHub-Event": "push", "X-GitHub-Delivery": "72d3162e", "X-Hub-Signature-256": f"sha256={mac()}"}
FORGEJO = {"X-Forgejo-Event": "push", "X-Forgejo-Delivery": "f6266f16", "X-Forgejo-Signature": mac()}
GITEA = {"X-Gitea-Event": "push", "X-Gitea-Delivery": "f6266f17", "X-Gitea-Signature": mac()}
GITLAB = {"X-Gitlab-Event": "Push Hook", "X-Gitlab-Event-UUID": "13792a34", "X-Gitlab-Token": SECRET}


def standard(at: datetime = NOW, name: str = "msg_1", secret: str = STANDARD, body: bytes = PUSH) -> dict[str, str]:
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(name, at, body.decode()),
    }


ALL = [GITHUB, FORGEJO, GITEA, GITLAB, standard()]


def check(headers: dict[str, str], body: bytes = PUSH, *secrets: str, now: datetime = NOW) -> Genuine | Bad:
    return check_hook([*headers.items()], body, secrets or (SECRET, STANDARD), now)


@pytest.mark.parametrize("headers", ALL)
def test_each_forge_is_accepted_with_its_own_signature(headers: dict[str, str]) -> None:
    found = check(headers)
    assert isinstance(found, Genuine)
    assert found.is_push
    assert is_signed([*headers.items()])


@pytest.mark.parametrize("headers", ALL)
def test_the_wrong_secret_is_refused(headers: dict[str, str]) -> None:
    assert isinstance(check(headers, PUSH, OTHER), Bad)


@pytest.mark.parametrize("headers", [GITHUB, FORGEJO, GITEA, standard()])
def test_a_changed_body_is_refused(headers: dict[str, str]) -> None:
    assert isinstance(check(headers, PUSH + b" "), Bad)


@pytest.mark.parametrize("headers", ALL)
def test_either_of_two_secrets_is_accepted_while_one_replaces_the_other(headers: dict[str, str]) -> None:
    assert isinstance(check(headers, PUSH, OTHER, SECRET, STANDARD), Genuine)
    assert isinstance(check(headers, PUSH, STANDARD, SECRET, OTHER), Genuine)


@pytest.mark.parametrize(
    "bad", ["webhook-signature", "X-Hub-Signature-256", "X-Forgejo-Signature", "X-Gitea-Signature"]
)
def test_a_bad_signature_is_not_rescued_by_a_weaker_good_one(bad: str) -> None:
    assert isinstance(check({**GITLAB, **GITEA, bad: "v1,AAAA"}), Bad)


def test_a_webhook_without_a_signature_is_refused_and_its_body_is_not_worth_reading() -> None:
    found = check({"X-GitHub-Event": "push"})
    assert isinstance(found, Bad)
    assert "no signature" in found.message
    assert not is_signed([("X-GitHub-Event", "push")])


@pytest.mark.parametrize("off", [timedelta(minutes=5, seconds=1), -timedelta(minutes=5, seconds=1)])
def test_a_signature_with_a_time_lasts_five_minutes(off: timedelta) -> None:
    assert isinstance(check(standard(), now=NOW + off), Bad)
    assert isinstance(check(standard(), now=NOW + off * 0.9), Genuine)


def test_the_id_and_the_time_of_a_standard_webhook_are_signed() -> None:
    for change in ({"webhook-id": "msg_2"}, {"webhook-timestamp": str(int(NOW.timestamp()) + 1)}):
        assert isinstance(check({**standard(), **change}), Bad)


def test_one_of_several_standard_signatures_is_enough() -> None:
    found = standard()
    found["webhook-signature"] = f"v1a,xyz v1,AAAA {found['webhook-signature']}"
    assert isinstance(check(found), Genuine)


@pytest.mark.parametrize("at", ["", "x", "-1", "1e9", "٣", "9" * 30])
def test_a_time_that_is_none_is_refused(at: str) -> None:
    assert isinstance(check({**standard(), "webhook-timestamp": at}), Bad)


def test_a_header_given_twice_is_refused() -> None:
    for name in ("X-Hub-Signature-256", "X-GitHub-Delivery", "X-GitHub-Event"):
        assert isinstance(check_hook([*GITHUB.items(), (name, GITHUB[name])], PUSH, (SECRET,), NOW), Bad)


def test_a_replay_under_another_delivery_id_is_known_by_its_body() -> None:
    first, again = check(GITHUB), check({**GITHUB, "X-GitHub-Delivery": "new"})
    assert isinstance(first, Genuine)
    assert isinstance(again, Genuine)
    assert {*first.keys} & {*again.keys}


def test_two_pushes_have_nothing_in_common() -> None:
    first = check(GITHUB)
    body = PUSH.replace(b"2c3d", b"4e5f")
    second = check({**GITHUB, "X-GitHub-Delivery": "2", "X-Hub-Signature-256": f"sha256={mac(body)}"}, body)
    assert isinstance(first, Genuine)
    assert isinstance(second, Genuine)
    assert not {*first.keys} & {*second.keys}


@pytest.mark.parametrize("event", ["ping", "issues", "Issue Hook"])
def test_what_is_no_push_is_genuine_and_nothing_more(event: str) -> None:
    found = check({**GITHUB, "X-GitHub-Event": event})
    assert isinstance(found, Genuine)
    assert not found.is_push


def test_no_secret_accepts_nothing() -> None:
    for headers in ALL:
        assert isinstance(check_hook([*headers.items()], PUSH, (), NOW), Bad)
    empty = {"X-Gitlab-Token": "", "X-Gitea-Signature": ""}
    assert isinstance(check(empty), Bad)


def test_secrets_are_separated_by_white_space_and_short_ones_are_weak() -> None:
    assert secrets_in(f"{SECRET}\n{OTHER}\n") == (SECRET, OTHER)
    assert weak(("short",))
    assert not weak((SECRET, STANDARD))


@given(
    st.lists(
        st.tuples(
            st.sampled_from([*GITHUB, *FORGEJO, *GITEA, *GITLAB, *standard()]),
            st.text(st.characters(max_codepoint=255), max_size=80),
        ),
        max_size=8,
    ),
    st.binary(max_size=50),
)
def test_nothing_made_up_is_accepted(headers: list[tuple[str, str]], body: bytes) -> None:
    assert isinstance(check_hook(headers, body, (SECRET, STANDARD), NOW), Bad)
