"""The secrets that let somebody in: tokens, login links and sessions. Only their digests are stored.

They are 256 random bits, so a fast digest keeps them: there is nothing to guess.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime, timedelta

from scheduler.core.values.access import Token
from scheduler.core.values.problems import UsageError
from scheduler.core.values.texts import short

ENDS_SOON = timedelta(days=7)
UNUSED = timedelta(days=90)
_TOKEN = re.compile(r"sch_([a-z2-7]{10})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}")


def written_token(token_id: str, secret: str) -> str:
    """A token as its owner is given it."""
    return f"sch_{token_id}_{secret}"


def token_id_of(text: str) -> str | None:
    """The id in a token; None if it has not the form of one."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else found[1]


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def check_name(name: str) -> str:
    """Check the name of a token, which becomes an actor. Raises: UsageError."""
    if _NAME.fullmatch(name) is None:
        raise UsageError(
            f"{short(name)} is not a name for a token",
            hint="use up to 63 letters, digits and any of ._@- and begin with a letter or digit",
        )
    return name


def check_jobs(patterns: Sequence[str]) -> tuple[str, ...]:
    """Check patterns of jobs, as in `agents.jobs`. Raises: UsageError."""
    for pattern in patterns:
        if not pattern.strip() or len(pattern) > 200:
            raise UsageError(
                f"{short(pattern)} is not a pattern of jobs", hint="write an id, such as report-*, or tag:NAME"
            )
    return tuple(dict.fromkeys(patterns))


def cookie_name(root: str, *, tls: bool) -> str:
    """The name of the session cookie of one root. Browsers share cookies between the ports of one host."""
    name = f"scheduler_{hashlib.sha256(root.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"
    return f"__Host-{name}" if tls else name


def is_over(at: datetime | None, now: datetime) -> bool:
    """True if an expiry has passed."""
    return at is not None and at <= now


def lets_in(token: Token, now: datetime) -> bool:
    return token.revoked_at is None and not is_over(token.expires_at, now)


def ends_soon(token: Token, now: datetime, *, within: timedelta = ENDS_SOON) -> bool:
    """True if a token that lets somebody in will not do so in a week, or in this time."""
    return lets_in(token, now) and is_over(token.expires_at, now + within)


def is_unused(token: Token, now: datetime) -> bool:
    """True if a token that lets somebody in has not done so for 90 days."""
    return lets_in(token, now) and (token.last_used_at or token.created_at) <= now - UNUSED
