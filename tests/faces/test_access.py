"""`scheduler token`, `scheduler login`, the options that let people in, and what doctor says of tokens."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest

from tests.faces.conftest import Root

TOKEN = re.compile(r"sch_[a-z2-7]{10}_[A-Za-z0-9_-]{43}")


def created(root: Root, *args: str) -> str:
    """The text of a new token."""
    return root.ok("token", "create", *args).stdout.strip()


def listed(root: Root) -> list[Any]:
    found: list[Any] = root.json("token", "list")["tokens"]
    return found


def doctor(root: Root) -> list[tuple[str, str]]:
    checks = root.cli("doctor", "--json").json["checks"]
    return [(each["status"], each["message"]) for each in checks if each["name"] == "tokens"]


# -- token -----------------------------------------------------------------------------------------


def test_a_new_token_is_alone_on_stdout_and_reads_only(lived_in: Root) -> None:
    made = lived_in.ok("token", "create", "ci")
    assert TOKEN.fullmatch(made.stdout.strip())
    assert "not shown again" in made.stderr
    (token,) = listed(lived_in)
    assert (token["name"], token["role"], token["jobs"], token["expires_at"]) == ("ci", "viewer", [], None)


def test_a_token_has_a_role_jobs_and_an_end(lived_in: Root) -> None:
    created(lived_in, "ci", "--role", "operator", "--jobs", "tri*", "--jobs", "tag:agent", "--expires", "30d")
    (token,) = listed(lived_in)
    assert (token["role"], token["jobs"]) == ("operator", ["tri*", "tag:agent"])
    assert token["expires_at"] is not None
    shown = lived_in.ok("token", "list").stdout
    assert all(part in shown for part in ("ci", "operator", "tri*, tag:agent", token["id"]))


def test_the_json_of_a_new_token_has_its_secret_and_no_other_answer_has(lived_in: Root) -> None:
    made = lived_in.json("token", "create", "ci")
    assert TOKEN.fullmatch(made["secret"])
    assert made["token"]["id"] in made["secret"]
    secret = made["secret"].split("_", 2)[2]
    for args in (
        ("token", "list"),
        ("token", "list", "--json"),
        ("token", "revoke", "ci", "--json"),
        ("audit", "--json"),
    ):
        assert secret not in lived_in.ok(*args).stdout


@pytest.mark.parametrize("by", ["name", "id"])
def test_a_token_is_revoked_by_its_name_or_id_and_stays_in_the_list(lived_in: Root, by: str) -> None:
    created(lived_in, "ci")
    lived_in.ok("token", "revoke", listed(lived_in)[0][by])
    assert listed(lived_in)[0]["revoked_at"] is not None
    assert "revoked" in lived_in.ok("token", "list").stdout
    again = lived_in.cli("token", "revoke", "ci")
    assert (again.code, "revoked already" in again.stderr) == (2, True)


def test_a_name_is_taken_until_its_token_is_revoked_or_has_expired(lived_in: Root) -> None:
    created(lived_in, "ci", "--expires", "1d")
    assert lived_in.cli("token", "create", "ci").code == 3
    lived_in.clock.advance(timedelta(days=1))
    created(lived_in, "ci")
    lived_in.ok("token", "revoke", "ci")
    created(lived_in, "ci")
    assert len(listed(lived_in)) == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("create", "needs a NAME"),
        ("revoke", "needs a NAME"),
        ("revoke nobody", "no token 'nobody'"),
        ("list ci", "takes no NAME"),
        ("list --role viewer", "takes no --role"),
        ("revoke ci --expires 1d", "takes no --expires"),
        ("create a/b", "not a name for a token"),
        ("create ci --role root", "role"),
        ("create ci --expires soon", "--expires"),
    ],
)
def test_a_mistake_is_named_and_makes_no_token(lived_in: Root, args: str, said: str) -> None:
    found = lived_in.cli("token", *args.split())
    assert (found.code, found.stdout) == (2, "")
    assert said in found.stderr
    assert listed(lived_in) == []


def test_a_root_that_was_never_synced_has_no_tokens_and_says_what_to_do(root: Root) -> None:
    assert listed(root) == []
    found = root.cli("token", "create", "ci")
    assert (found.code, "scheduler sync" in found.stderr) == (5, True)


# -- login -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noted", [None, "{}", "[", '{"address": "http://127.0.0.1:1", "pid": 4194305}'])
def test_without_pages_login_says_how_to_start_them(lived_in: Root, noted: str | None) -> None:
    if noted is not None:  # as left behind by a process that is dead, or a full disk
        lived_in.write(".scheduler/served", noted)
    found = lived_in.cli("login")
    assert (found.code, found.stdout) == (5, "")
    assert "scheduler serve" in found.stderr


def test_login_prints_a_new_link_each_time(lived_in: Root) -> None:
    lived_in.write(".scheduler/served", json.dumps({"address": "http://127.0.0.1:8484", "pid": 1}))
    links = {lived_in.ok("login").stdout.strip(), lived_in.json("login")["url"]}
    assert len(links) == 2
    assert all(re.fullmatch(r"http://127\.0\.0\.1:8484/login\?t=[\w-]{43}", link) for link in links)


# -- who is let in ---------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["serve", "web"])
@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("--trust-proxy 10.0.0.2", "needs --user-header too"),
        ("--user-header Remote-User", "needs --trust-proxy too"),
        ("--proxy-role admin", "needs a proxy"),
        ("--trust-proxy 0.0.0.0/0 --user-header Remote-User", "every address"),
        ("--trust-proxy 10.0.0.2 --user-header Authorization", "not a header"),
        ("--allow-host https://jobs.example", "not a host name"),
        ("--url jobs.example", "not the URL of a server"),
    ],
)
def test_options_that_would_let_in_nobody_or_everybody_are_refused(
    lived_in: Root, command: str, args: str, said: str
) -> None:
    found = lived_in.cli(command, *args.split())
    assert (found.code, found.stdout) == (2, "")
    assert said in found.stderr


def test_an_empty_secret_of_the_proxy_is_refused(lived_in: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEDULER_PROXY_SECRET", " ")
    found = lived_in.cli("web", "--trust-proxy", "10.0.0.2", "--user-header", "Remote-User")
    assert (found.code, "SCHEDULER_PROXY_SECRET is empty" in found.stderr) == (2, True)


# -- doctor ----------------------------------------------------------------------------------------


def test_doctor_says_nothing_of_tokens_where_there_are_none(lived_in: Root) -> None:
    assert doctor(lived_in) == []
    created(lived_in, "ci")
    lived_in.ok("token", "revoke", "ci")
    assert doctor(lived_in) == []


def test_doctor_names_tokens_that_end_soon_and_those_that_nobody_uses(lived_in: Root) -> None:
    created(lived_in, "soon", "--expires", "90d")
    created(lived_in, "old")
    assert doctor(lived_in) == [("ok", "2 tokens, in use and not about to expire")]
    lived_in.clock.advance(timedelta(days=84))
    assert doctor(lived_in) == [("warning", "these expire within 7 days: soon")]
    lived_in.clock.advance(timedelta(days=6))
    assert doctor(lived_in) == [("warning", "not used for 90 days: old")]
