"""A remote that a root follows: what is followed, by which rule, and when to look there again. Plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from scheduler.core.values.problems import UsageError
from scheduler.core.values.units import UnitError, format_duration, parse_duration

EVERY = timedelta(minutes=1)
LONGEST_WAIT = timedelta(minutes=15)  # between two tries, however long a remote is unreachable
JITTER = 0.2  # of the wait, either way: machines that were started together must not all look at once

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_SCHEMES = ("https", "http", "ssh", "git", "file")
_MISTYPED = re.compile(r"https?:(?!//)", re.IGNORECASE)
# Also in texts such as git's output. Up to the last @ of the host part, because a password may contain one.
_WEB_USER = re.compile(r"(https?://)[^/?#\s]*@", re.IGNORECASE)
_WEB_SLASH = re.compile(r"(https?://)[^/?#\s:@\[]*:(?!\d+/)[^?#\s]*@", re.IGNORECASE)  # a password with a slash
_WEB_QUERY = re.compile(r"(https?://[^?#\s]*)([?#])[^\s]*", re.IGNORECASE)  # or a fragment
_PASSWORD = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^/@:\s]*):[^/\s]*@")
_HELPER = re.compile(r"^[a-zA-Z0-9_-]+::")
_KEYS = {"version", "url", "branch", "tag", "path", "verify", "every", "accept"}
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """What a root follows. Exactly one of `branch` and `tag` is set.

    path: the folder of the root in the repository, with slashes; empty for the top of the repository.
    signed: whether only commits with a good SSH signature are applied.
    accept: the one commit that an operator admits although it does not build on the current one; used once.
    """

    url: str
    branch: str | None = None
    tag: str | None = None
    path: str = ""
    signed: bool = False
    every: timedelta = EVERY
    accept: str | None = None

    @property
    def ref(self) -> str:
        """Its full name on the remote."""
        return f"refs/heads/{self.branch}" if self.branch is not None else f"refs/tags/{self.tag}"

    @property
    def words(self) -> str:
        """For people: what is followed."""
        what = f"branch {self.branch}" if self.branch is not None else f"tag {self.tag}"
        return f"{what} of {self.url}"

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "url": self.url,
            "branch": self.branch,
            "tag": self.tag,
            "path": self.path or ".",
            "verify": "signed" if self.signed else None,
            "every": format_duration(self.every),
            **({} if self.accept is None else {"accept": self.accept}),
        }


def read_remote(data: bytes) -> Remote:
    """What `to_json` wrote, and a person may have edited since. Raises: ValueError with what is wrong, and the fix."""
    try:
        found = json.loads(data)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict) or found.get("version") != 1:
        raise ValueError("its version is not 1")
    if unknown := sorted(found.keys() - _KEYS):
        raise ValueError(f"unknown key {unknown[0]!r}; allowed: {', '.join(sorted(_KEYS))}")
    text = {key: found.get(key) for key in _KEYS - {"version"}}
    if wrong := [key for key, value in text.items() if not (value is None or isinstance(value, str))]:
        raise ValueError(f"{min(wrong)} must be text or null")
    if text["verify"] not in (None, "signed"):
        raise ValueError(f'verify is {text["verify"]!r}; write "signed", or null for any commit')
    if text["accept"] is not None and not _COMMIT.fullmatch(text["accept"]):
        raise ValueError(f"accept is {text['accept']!r}; write the full id of one commit, or delete the key")
    try:
        every = EVERY if text["every"] is None else read_every(text["every"])
        return Remote(
            url=check_url(text["url"] or ""),
            path=check_remote_path(text["path"] or ""),
            signed=text["verify"] == "signed",
            every=every,
            accept=text["accept"],
            **_one_ref(text["branch"], text["tag"]),
        )
    except UsageError as error:
        raise ValueError(f"{error}; {error.hint}" if error.hint else str(error)) from None


def _one_ref(branch: str | None, tag: str | None) -> dict[str, str]:
    check_ref(branch, tag)
    if branch is not None:
        return {"branch": branch}
    if tag is None:
        raise UsageError("neither a branch nor a tag is named", hint='write "branch": "main"')
    return {"tag": tag}


def check_ref(branch: str | None, tag: str | None) -> None:
    """Raises: UsageError for a name that git would not accept (git-check-ref-format(1)), or if both are given."""
    if branch is not None and tag is not None:
        raise UsageError("a root follows a branch or a tag, not both", hint="leave one of them out")
    for kind, name in (("branch", branch), ("tag", tag)):
        if name is not None and not _is_ref_name(name):
            raise UsageError(f"{name!r} cannot be the name of a {kind}", hint="write the short name, such as main")


def _is_ref_name(name: str) -> bool:
    parts = name.split("/")
    return not (
        any(not part or part.startswith(".") or part.endswith(".lock") for part in parts)
        or name.startswith(("-", "refs/"))
        or name.endswith(".")
        or name == "@"
        or ".." in name
        or "@{" in name
        or any(ord(char) <= 32 or char in "~^:?*[\\\x7f" for char in name)
    )


def check_url(url: str) -> str:
    """The URL. Raises: UsageError for a URL that git would not fetch from, or that may contain a secret.

    Such a URL appears in a file, in the process list and in messages.
    """
    flat = re.sub(r"\s", "_", url)
    shown = without_secrets(flat)
    if not url or url != url.strip() or any(ord(char) < 32 or ord(char) == 127 for char in url):
        raise UsageError(f"{shown!r} is not a URL", hint="write one that `git clone` accepts")
    if url.startswith("-") or _HELPER.match(url):
        raise UsageError(f"{shown!r} would run a program of its choice", hint="write https://, ssh:// or HOST:PATH")
    if _MISTYPED.match(url):
        said = "the URL has no // after its scheme, so git would read the scheme as a host name"
        raise UsageError(said, hint="write https://HOST/PATH")
    scheme = _SCHEME.match(url)
    if scheme is not None and scheme[1].lower() not in _SCHEMES:
        raise UsageError(f"{scheme[1]}:// is not supported", hint=f"write one of {', '.join(_SCHEMES)}")
    if shown != flat:
        what = "a password"
        if scheme is not None and scheme[1].lower() in ("http", "https"):
            what = "a user, a query or a fragment, which can contain a token"
        hint = (
            "remove that, and let git's credential helper or an SSH key provide it (gitcredentials(7)); a user name"
            " alone goes in git's settings: git config --global credential.https://HOST.username USER"
        )
        raise UsageError(f"the URL contains {what}: {shown}", hint=hint)
    return url


def without_secrets(text: str) -> str:
    """A text, such as git's output, in which no URL shows a password, a web user, a query or a fragment."""
    for pattern in (_WEB_USER, _WEB_SLASH):
        text = pattern.sub(r"\1***@", text)
    return _PASSWORD.sub(r"\1:***@", _WEB_QUERY.sub(r"\1\2***", text))


def is_local(url: str) -> bool:
    """True for the path of a folder (git-clone(1), Git URLs): no scheme, and no colon before the first slash."""
    return _SCHEME.match(url) is None and ":" not in url.split("/")[0]


def folder_name(url: str) -> str:
    """The default name of a clone, as `git clone` derives it; empty if the URL has none."""
    name = re.split(r"[/:]", url.rstrip("/").removesuffix("/.git"))[-1].removesuffix(".git")
    return "" if name in (".", "..") else name


def check_remote_path(path: str) -> str:
    """A folder of a repository, with slashes but none at either end; "" for the top. Raises: UsageError."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or any(part == ".." or part.lower() == ".git" or "\0" in part for part in parts):
        raise UsageError(
            f"{path!r} is not a folder of a repository",
            hint="name the folder of scheduler.yaml, relative to the top of the repository",
        )
    return "/".join(parts)


def read_every(text: str) -> timedelta:
    """How often to look. Raises: UsageError."""
    try:
        return parse_duration(text)
    except UnitError as error:
        raise UsageError(f"the interval between fetches: {error}", hint=error.hint or "write 60s") from None


def wait(every: timedelta, failures: int, chance: Callable[[], float]) -> timedelta:
    """How long to wait until the next look.

    failures: consecutive ones; each doubles the wait, up to LONGEST_WAIT. chance: a number in [0, 1).
    """
    longest = max(every, LONGEST_WAIT)
    whole = longest if failures > 20 else min(longest, every * 2**failures)
    return whole * (1 - JITTER + 2 * JITTER * chance())
