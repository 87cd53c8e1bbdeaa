"""What each service can show. Limits that were measured, or are documented, come before what Apprise says."""

from __future__ import annotations

from dataclasses import replace

from scheduler.core.values.events import Fit, Markup

_LEAST, _MOST = 160, 32_768  # of a body, whatever is described
_DOCUMENT = 10_000  # a body that may be this long is read as a document, and not as a notification
_SHORT, _SHORT_TITLE = 700, 75  # together at most 1,000 bytes, as a character has at most four

# Discord takes 2,000 characters, and its title is among them.
# Slack drops attachments and reports success; ntfy moves the message into the URL if there is one.
_KNOWN = {
    "slack": Fit(service="Slack", most=3_000, markup=Markup.MARKDOWN),
    "discord": Fit(service="Discord", most=1_800, most_title=190, markup=Markup.MARKDOWN, attaches=True),
    "tgram": Fit(service="Telegram", most=3_500, most_title=0, markup=Markup.MARKDOWN, attaches=True),
    "ntfy": Fit(service="ntfy", most=3_500, in_bytes=True, most_title=200),
    "pover": Fit(service="Pushover", most=1_000),
    "mailto": Fit(service="E-Mail", most=_MOST, attaches=True),
}
_SAME = {"ntfys": "ntfy", "mailtos": "mailto", "telegram": "tgram"}


def fit_of(
    scheme: str,
    *,
    service: str = "",
    most: int = 1_000,
    most_title: int = 250,
    markup: Markup = Markup.TEXT,
    attaches: bool = False,
) -> Fit:
    """What a service can show. scheme: of its Apprise URL. The rest is what Apprise says of it.

    A service that is not known here is given what Apprise says.
    """
    known = _KNOWN.get(_SAME.get(scheme, scheme))
    if known is not None:
        return known
    most = min(max(most, _LEAST), _MOST)
    return Fit(service=service or scheme, most=most, most_title=most_title, markup=markup, attaches=attaches)


def is_document(fit: Fit) -> bool:
    """True if plain text may be as long as it is, and keeps its Markdown."""
    return fit.most >= _DOCUMENT


def short_fit(fit: Fit) -> Fit:
    """For the second try of a message that was refused as bad or too large: title and facts, 1,000 bytes at most."""
    title = min(fit.most_title or _SHORT_TITLE, _SHORT_TITLE)
    return replace(fit, most=min(fit.most, _SHORT), in_bytes=True, most_title=title, attaches=False, markup=Markup.TEXT)
