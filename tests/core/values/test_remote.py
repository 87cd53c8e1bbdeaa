"""What is followed, and when to look there again."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.problems import UsageError
from scheduler.core.values.remote import (
    LONGEST_WAIT,
    Remote,
    check_ref,
    check_remote_path,
    check_url,
    folder_name,
    is_local,
    read_remote,
    wait,
    without_secrets,
)


@pytest.mark.parametrize(
    ("url", "name", "local"),
    [
        ("https://example.com/team/jobs.git", "jobs", False),
        ("https://example.com:8443/team/jobs/", "jobs", False),
        ("https://example.com/team@v1/jobs", "jobs", False),
        ("https://example.com:8443/team@v1/jobs", "jobs", False),
        ("https://[::1]:8443/team@v1/jobs", "jobs", False),
        ("git@example.com:team/jobs.git", "jobs", False),
        ("example.com:jobs", "jobs", False),
        ("ssh://git@example.com:2222/jobs.git/", "jobs", False),
        ("/srv/git/jobs.git", "jobs", True),
        ("../jobs/.git", "jobs", True),
        ("file:///srv/jobs.git", "jobs", False),
    ],
)
def test_urls_that_git_takes_are_taken_and_name_a_folder(url: str, name: str, local: bool) -> None:
    assert check_url(url) == url
    assert folder_name(url) == name
    assert is_local(url) is local


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "is not a URL"),
        (" https://example.com/x", "is not a URL"),
        ("https://example.com/x\ny", "is not a URL"),
        ("ext::sh -c id", "would run a program"),
        ("-u/tmp", "would run a program"),
        ("--upload-pack=id", "would run a program"),
        ("ftp://example.com/x", "ftp:// is not supported"),
        ("https://me:secret@example.com/x", "contains a user, a query or a fragment"),
        ("https://secret@example.com/x", "contains a user, a query or a fragment"),
        ("HTTPS://secret@example.com/x", "contains a user, a query or a fragment"),
        ("http://u:a@secret@example.com/x", "contains a user, a query or a fragment"),
        ("https://u:se/secret@example.com/x", "contains a user, a query or a fragment"),
        ("https://u:se'secret@example.com/x", "contains a user, a query or a fragment"),
        ("https://u:se secret@example.com/x", "contains a user, a query or a fragment"),
        ("https://example.com/x?token=secret", "contains a user, a query or a fragment"),
        ("https://example.com/x?secret", "contains a user, a query or a fragment"),
        ("https://@example.com/x?secret", "contains a user, a query or a fragment"),
        ("https://example.com/x#secret", "contains a user, a query or a fragment"),
        ("https:/secret@example.com/x", "has no // after its scheme"),
        ("HTTP:secret@example.com/x", "has no // after its scheme"),
        ("https:\\\\secret@example.com/x", "has no // after its scheme"),
        ("ssh://me:secret@example.com/x", "contains a password"),
        ("ssh://me:a@secret@example.com/x", "contains a password"),
        ("git://me:secret@example.com/x", "contains a password"),
        ("https://me:secret@example.com/x ", "is not a URL"),
        ("ext::https://secret@example.com/x", "would run a program"),
    ],
)
def test_urls_that_run_programs_or_hold_passwords_are_refused_without_showing_them(url: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as raised:
        check_url(url)
    assert "secret" not in f"{raised.value} {raised.value.hint}"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("fatal: https://me:secret@h/x not found", "fatal: https://***@h/x not found"),
        ("access 'https://secret@h/x/': 403", "access 'https://***@h/x/': 403"),
        ("https://u:a@secret@h:80/x", "https://***@h:80/x"),
        ("see https://h/x?t=secret and ssh://me:a@secret@h/x", "see https://h/x?*** and ssh://me:***@h/x"),
        ("see https://h/x#secret now", "see https://h/x#*** now"),
        ("https://h/x and git@h:x, ssh://git@h/x, a@b", "https://h/x and git@h:x, ssh://git@h/x, a@b"),
    ],
)
def test_a_secret_in_what_git_says_is_not_shown(said: str, shown: str) -> None:
    assert without_secrets(said) == shown


@pytest.mark.parametrize(
    "name", ["", "-x", "a..b", "a b", "refs/heads/x", "a/", "/a", "x.lock", "a~1", "@", "a/.b", "x."]
)
def test_names_that_git_takes_for_no_ref_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be the name"):
        check_ref(name, None)
    with pytest.raises(UsageError, match="cannot be the name"):
        check_ref(None, name)


def test_a_folder_of_the_repository_stays_inside_it() -> None:
    assert [check_remote_path(each) for each in ("", ".", "./", "a/b/", "a//b")] == ["", "", "", "a/b", "a/b"]
    for path in ("/a", "..", "a/../..", ".git", "a/.GIT/b"):
        with pytest.raises(UsageError, match="is not a folder"):
            check_remote_path(path)


@given(
    st.builds(
        Remote,
        url=st.sampled_from(["https://example.com/x", "/srv/x.git"]),
        branch=st.sampled_from(["main", "release/2"]),
        path=st.sampled_from(["", "ops/jobs"]),
        signed=st.booleans(),
        every=st.integers(1, 86_400).map(lambda s: timedelta(seconds=s)),
    )
)
def test_what_is_written_down_is_read_back(remote: Remote) -> None:
    assert read_remote(json.dumps(remote.to_json()).encode()) == remote


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"version": 2}, "version is not 1"),
        ({"branch": None}, "neither a branch nor a tag"),
        ({"tag": "v1"}, "not both"),
        ({"verify": "yes"}, "verify is 'yes'"),
        ({"every": "60"}, "no unit"),
        ({"every": 60}, "every must be text"),
        ({"bransh": "x"}, "unknown key 'bransh'"),
        ({"path": "../x"}, "is not a folder"),
        ({"url": "ext::id"}, "would run a program"),
    ],
)
def test_a_person_who_edits_it_is_told_what_is_wrong(change: dict[str, object], why: str) -> None:
    good = Remote(url="/srv/x", branch="main").to_json()
    with pytest.raises(ValueError, match=why):
        read_remote(json.dumps({**good, **change}).encode())


def test_what_is_no_json_is_said_so() -> None:
    for data in (b"", b"[]", b"{", b"\xff"):
        with pytest.raises(ValueError, match=r"it is not JSON|its version is not 1"):
            read_remote(data)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True), st.integers(1, 7200))
def test_the_wait_doubles_with_failures_up_to_a_limit_and_differs_between_hosts(
    failures: int, chance: float, every_s: int
) -> None:
    every = timedelta(seconds=every_s)
    found = wait(every, failures, lambda: chance)
    limit = max(every, LONGEST_WAIT)
    whole = min(limit, every * 2 ** min(failures, 20))
    assert whole * 0.79 <= found <= whole * 1.21
    assert wait(every, failures, lambda: 0.0) < wait(every, failures, lambda: 0.9)
