"""Text of jobs made safe and cut: never over a limit, no mention, no control character, no fence left open."""

from __future__ import annotations

import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.core.messages.cut import cut_text, size_of
from scheduler.core.messages.defuse import (
    FENCE,
    fenced,
    named,
    on_one_line,
    pages_nobody,
    quoted,
    safe_text,
    sentence,
    with_even_fences,
)
from scheduler.core.values.events import Markup

PIECES = [
    *("@everyone", "@HERE", "@channel", "<!channel>", "<@U1>", "<#C1>", "<!subteam^S1>", "<@&1>", "<users/all>"),
    *("```", "~~~", "````py", "\n", "\n\n", " ", "`", "\\", "| a | b |", "\n|---|---|\n", "](http://x)", "[x"),
    *("\x1b[31m", "\x1b]8;;http://x\x07", "\x00", "\x7f", "\x9b", "\r\n", "\u2028", "\u202e", "\u2066", "\u200b"),
    *("\u200d", "\ud800", "ä", "\U0001f600", "word", "@every", "one", "<", "!", "@", "here", "{", '"result": "', "}"),
]
hostile = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=60).map("".join)
MENTIONS = ("@everyone", "@here", "@channel", "@all", "@room", "<!", "<@", "<#", "<users/")


def check_safe(text: str, *, lines: bool) -> None:
    """What holds of everything that is sent."""
    assert not any(each in text.lower() for each in MENTIONS)
    assert not any(unicodedata.category(each) in ("Cc", "Cs") for each in text if not lines or each != "\n")
    assert not any(each in text for each in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029")


def check_fences(text: str) -> None:
    marks = [line for line in text.split("\n") if line.startswith(FENCE)]
    assert len(marks) % 2 == 0
    assert text.count(FENCE) == len(marks)


@given(hostile, st.sampled_from(Markup))
def test_a_fragment_is_one_safe_line(text: str, markup: Markup) -> None:
    for made in (on_one_line(text), quoted(text, markup), named(text, 80), sentence(text, markup)):
        check_safe(made, lines=False)
        assert len(made) <= 2_500
    assert not set(named(text, 80)) & set("<>`*[]|~\\")
    if markup is Markup.MARKDOWN:
        assert "](" not in sentence(text, markup)
        assert quoted(text, markup).count("`") in (0, 2)


@given(hostile, st.integers(1, 400), st.booleans())
def test_a_cut_never_exceeds_its_limit(text: str, most: int, in_bytes: bool) -> None:
    safe = pages_nobody(safe_text(text))
    made = cut_text(safe, most, in_bytes=in_bytes, where="scheduler output a:1")
    assert size_of(made, in_bytes=in_bytes) <= most
    check_safe(made, lines=True)


@example("a\n```\nb", 400, False, True)
@example("a ```b``` c\n~~~py\n```\n~~~\n> ```\n````\nopen", 400, False, False)
@given(hostile, st.integers(1, 400), st.booleans(), st.booleans())
def test_fences_stay_even_in_a_cut(text: str, most: int, in_bytes: bool, block: bool) -> None:
    made = fenced(safe_text(text)) if block else with_even_fences(safe_text(text))
    made = pages_nobody(made)
    check_fences(made)
    shorter = cut_text(made, most, in_bytes=in_bytes, where="scheduler output a:1", fences=True)
    assert size_of(shorter, in_bytes=in_bytes) <= most
    check_fences(shorter)
    check_safe(shorter, lines=True)


def test_head_and_tail_stay_and_the_rest_is_counted() -> None:
    lines = [f"line {number:03}" for number in range(100)]
    made = cut_text("\n".join(lines), 300, where="scheduler output heartbeat:12").split("\n")
    assert made[0] == "line 000"
    assert made[-1] == "line 099"
    (place,) = (at for at, line in enumerate(made) if line.startswith("…"))
    kept = [*made[:place], *made[place + 1 :]]
    left = len("\n".join(lines)) - len("\n".join(made[:place])) - len("\n".join(made[place + 1 :]))
    assert made[place] == f"… {left} of 899 characters left out; whole: scheduler output heartbeat:12"
    assert set(kept) < set(lines)
    assert place > 2 * (len(made) - 1 - place)


def test_a_cut_inside_code_closes_it_and_opens_it_again() -> None:
    text = "before\n```python\n" + "x = 1\n" * 200 + "```\nafter"
    made = cut_text(text, 300, fences=True)
    head, _, tail = made.partition("\n… ")
    assert head.startswith("before\n```python\nx = 1\n")
    assert head.endswith("x = 1\n```")
    assert tail.split("\n")[1:3] == ["```", "x = 1"]
    assert tail.endswith("x = 1\n```\nafter")
