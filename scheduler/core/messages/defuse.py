"""Text that somebody else wrote, made safe to send: a job's output can neither page a company nor pose as our words."""

from __future__ import annotations

import re

from scheduler.core.values.events import Markup
from scheduler.core.values.hidden import without_needless
from scheduler.core.values.last_lines import without_steering

FENCE = "```"
LONGEST_FRAGMENT = 200  # characters of what is quoted within a line of ours
_BREAK = "\u200b"  # nothing to see, and no longer the sign that a service looks for
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")  # an escape in JSON can be half a character; no encoder takes it
# Slack, Discord, Webex: <!channel>, <@U1>, <#C1>, <@&role>. Google Chat: <users/all>. Zulip: @**all**, @_**x**.
_PAGES = re.compile(
    r"<(?=[!@#]|users/)|@(?=all|channel|everyone|group|here|online|room|stream|team|topic|_?\*\*)", re.I
)
_FENCE_LINE = re.compile(r"[ \t]*(`{3,}|~{3,})([^`\n]*)$")
_TICKS = re.compile("`{3,}")
_LONGEST_INFO = 20  # characters of a fence's language


def safe_text(text: str) -> str:
    """Text without control characters, escape sequences, and hidden characters that no script needs; LF ends lines."""
    text = _LINE_END.sub("\n", without_steering(text))
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", _CONTROL.sub("", text))
    return without_needless(text).expandtabs(4)


def pages_nobody(text: str) -> str:
    """A safe text in which no service finds a mention. Only after this, nothing may be taken out of it."""
    return _PAGES.sub(lambda found: found[0] + _BREAK, text)


def on_one_line(text: str, most: int = LONGEST_FRAGMENT) -> str:
    """A text as a fragment of a line of ours, for services without markup."""
    line = " ".join(safe_text(text[: 8 * most]).split())
    return pages_nobody(line if len(line) <= most else line[: most - 1] + "…")


def quoted(text: str, markup: Markup, most: int = LONGEST_FRAGMENT) -> str:
    """What a job or an author wrote, within a line of ours: inline code, in which no markup works."""
    line = on_one_line(text, most)
    return f"`{_without_links(line.replace('`', chr(39)))}`" if markup is Markup.MARKDOWN and line else line


def _without_links(line: str) -> str:
    """Also for code: a message that is cut can lose the end of it."""
    return re.sub(rf"<(?!{_BREAK})", f"<{_BREAK}", line).replace("](", f"]{_BREAK}(")


_AS_TEXT = str.maketrans({"<": "‹", ">": "›", "`": "'", "*": "∗", "[": "(", "]": ")", "|": "¦", "~": "∼", "\\": "∖"})


def named(text: str, most: int) -> str:
    """A name in a title. Titles have no code, and services differ in what markup they find there: it has none left."""
    return on_one_line(text, most).translate(_AS_TEXT)


def sentence(text: str, markup: Markup, most: int = 1_000) -> str:
    """A sentence of ours that may contain what somebody wrote: its `code` stays, and it cannot contain a link."""
    line = on_one_line(text, most)
    if markup is not Markup.MARKDOWN:
        return line
    line = re.sub(r"`{2,}", "'", line)
    if line.count("`") % 2:
        line = line.replace("`", "'")
    return _without_links(line)


def fenced(text: str) -> str:
    """A safe text as a block of code that it cannot leave."""
    inside = _TICKS.sub(lambda found: _BREAK.join(found[0]), text.strip("\n"))
    return f"{FENCE}\n{inside}\n{FENCE}"


def with_even_fences(markdown: str) -> str:
    """Safe Markdown in which ``` stands only where a fence begins or ends, at the start of a line, and each one ends.

    No service but a few knows ~~~, longer or indented fences; several take ``` for code wherever it is.
    """
    lines, mark = [], ""
    for line in markdown.split("\n"):
        found = _FENCE_LINE.match(line)
        if not mark and found is not None:
            mark = found[1]
            lines.append(FENCE + found[2].strip()[:_LONGEST_INFO])
        elif mark and found is not None and found[1].startswith(mark) and not found[2].strip():
            mark = ""
            lines.append(FENCE)
        else:
            lines.append(_TICKS.sub((lambda found: _BREAK.join(found[0])) if mark else "`", line))
    if mark:
        lines.append(FENCE)
    return "\n".join(lines)
