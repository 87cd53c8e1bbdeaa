"""Secrets in what is imported: found so that they are never written to a file of the repository, nor shown.

A secret is told by its own form, or by the name of what it is assigned to. References such as `$TOKEN` are none.
"""

from __future__ import annotations

import re

from scheduler.core.values.texts import short

HIDDEN = "not shown, it looks like a secret"

# What issuers put at the beginning of their secrets so that they can be found.
_FORMS = (
    (r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY", "a private key"),
    (r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}", "an API key"),
    (r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}|\bglpat-[A-Za-z0-9_-]{20,}", "a token of a forge"),
    (r"\bxox[abeprs]-[A-Za-z0-9-]{10,}|\bxapp-[A-Za-z0-9-]{20,}", "a token of Slack"),
    (r"hooks\.slack\.com/services/T[A-Za-z0-9]+/B[A-Za-z0-9]+/[A-Za-z0-9]{8,}", "the address of a Slack webhook"),
    (r"\b[0-9]{8,10}:AA[A-Za-z0-9_-]{30,}", "a token of Telegram"),
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[A-Za-z0-9_-]{35}\b", "a key of a cloud"),
    (r"\b(?:hf|npm)_[A-Za-z0-9]{30,}|\bpypi-[A-Za-z0-9_-]{40,}", "a token of a registry"),
    (r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}", "a signed token"),
    (r"(?i:\b(?:bearer|basic)) (?![$<{])[A-Za-z0-9._~+/-]{16,}=*", "a header with a credential"),
    (r"(?<![a-z0-9+.-])[a-z][a-z0-9+.-]*://[^\s/:@$'\"<>{}]+:[^\s/@$'\"<>{}]+@", "a password in a URL"),
)
_KINDS = (
    r"(?:TOKEN|API_?KEY|SECRET(?:_?KEY)?|ACCESS_?KEY|PRIVATE_?KEY|PASSWORD|PASSWD|PASSPHRASE|PWD|PASS|CREDENTIALS?)"
)
_NAME = re.compile(rf"(?:[A-Z0-9_]*_)?(?:{_KINDS}|PG{_KINDS}|MYSQL_PWD)", re.IGNORECASE)
_VALUE = r"(?:\"[^\"$`\s]{4,}\"|'[^'\s]{4,}'|[^\s\"'$`;|&<>(){}/]{4,})"
_ASSIGNED = re.compile(
    rf"(?<![\w$-])(?:(?:[A-Z0-9_]*_)?{_KINDS}|PG{_KINDS}|MYSQL_PWD)=(?!\"?\$){_VALUE}"
    rf"|(?<!\S)--?(?:[a-z0-9]+[-_])*(?:password|passwd|passphrase|token|api-?key|secret)(?:=| +)(?!-|\"?\$){_VALUE}"
)
_KNOWN = re.compile("|".join(f"(?:{form})" for form, _ in _FORMS))
_ELSEWHERE = re.compile(r"\s*(?:\$.*|/[\w./-]*|true|false|yes|no|on|off|none|null|[0-9]{0,3})\s*", re.IGNORECASE)


def secret_in(text: str) -> str | None:
    """What kind of secret a text contains, in words that do not repeat it; None if none is recognised."""
    if _KNOWN.search(text):
        return next(words for form, words in _FORMS if re.search(form, text))
    found = _ASSIGNED.search(text)
    if found is None:
        return None
    return f"a value of {re.split('[= ]', found[0], maxsplit=1)[0]}"


def quoted(value: object, name: str = "") -> str:
    """A value of the source for a message: cut off if it is long, hidden if it may be a secret. name: of its field."""
    text = value if isinstance(value, str) else repr(value)
    if secret_in(text) or (name and is_secret(name, text)):
        return f"({HIDDEN})"
    return short(text) if isinstance(value, str) else text if len(text) <= 60 else f"{text[:57]}..."


def redacted(text: str) -> str:
    """A text without the secrets in it."""
    return _ASSIGNED.sub(f"({HIDDEN})", _KNOWN.sub(f"({HIDDEN})", text))


def is_secret(name: str, value: str) -> bool:
    """True for a variable whose name or value says that it is secret; not for a path or a reference to one."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|-", "_", name)  # botToken, api-key
    return bool(_KNOWN.search(value)) or (
        _NAME.fullmatch(words) is not None and _ELSEWHERE.fullmatch(value) is None and len(value) > 3
    )
