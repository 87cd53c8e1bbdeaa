"""What a reader has found so far, and the result that it makes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from scheduler.core.values.last_lines import last_line
from scheduler.core.values.usage import (
    AgentResult,
    Cost,
    CostBasis,
    EndClass,
    ResultFormat,
    Tokens,
    all_tokens,
    model_asked,
)
from scheduler.run.results.ending import ProcessEnd, class_of_message, class_of_status, reset_of_message
from scheduler.run.results.output import Output, name_of, text_of

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")  # printed in a command to paste, so nothing else
_MOST_TOKENS = 10**12
_MOST_COST = Decimal(1_000_000)  # of one run: beyond it, the number is an error
_MOST_DENIED = 100


@dataclass(slots=True)
class Facts:
    """Filled in by a reader as it goes. Values come from a foreign program: `take_*` checks them."""

    text: str | None = None
    error: str | None = None
    failed: bool | None = None  # as the program says; None if it does not say
    end_class: EndClass | None = None  # if the program names it outright
    status: Any = None  # HTTP status of the error
    cost: Decimal | None = None
    tokens: Tokens | None = None
    by_model: dict[str, Tokens] = field(default_factory=dict)
    model: str | None = None
    session: str | None = None
    limit: str | None = None
    reset_at: datetime | None = None
    denied: dict[str, None] = field(default_factory=dict)
    misfits: dict[str, None] = field(default_factory=dict)

    def misfit(self, what: str) -> None:
        self.misfits[what] = None

    def take_session(self, value: Any) -> None:
        if isinstance(value, str) and _SESSION.fullmatch(value):
            self.session = value
        elif value is not None:
            self.misfit("the session id is not one")

    def take_cost(self, value: Any) -> None:
        """An amount: at least 0, finite and plausible. Anything else is unknown."""
        self.cost = self.amount(value)

    def amount(self, value: Any) -> Decimal | None:
        if isinstance(value, int | Decimal) and not isinstance(value, bool):
            found = Decimal(value)
            if found.is_finite() and 0 <= found <= _MOST_COST:
                return found + 0  # no negative zero
        if value is not None:
            self.misfit("the cost is not an amount between 0 and 1,000,000")
        return None

    def count(self, value: Any) -> int | None:
        """A number of tokens, or None."""
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
            return value
        if value is not None:
            self.misfit("a number of tokens is not a whole number of at least 0")
        return None

    def deny(self, name: Any) -> None:
        if (found := name_of(name)) and len(self.denied) < _MOST_DENIED:
            self.denied[found] = None

    def result(self, kind: ResultFormat, out: Output, err: Output, ending: ProcessEnd) -> AgentResult:
        """out, err: read to their ends."""
        if out.cut and (self.misfits or out.closed or kind is ResultFormat.OPENCODE):
            self.misfit("the output is cut")
        text = self.text
        if text is None and self.misfits and not out.blank:
            text = out.start
        failed = bool(self.failed) or ending.failed or self.end_class is not None
        error = self.error
        if failed and error is None:
            error = last_line(err.end.encode()) or None
        found = EndClass.OK if not failed else self._class(error, err)
        if ending.stopped is not None:
            found = ending.stopped
        if found is EndClass.REFUSED and error is None:
            error = f"permission denied: {', '.join(self.denied)}"
        reset = self.reset_at
        if found is EndClass.QUOTA and reset is None:
            reset = reset_of_message(error, ending) or reset_of_message(err.end, ending)
        asked = name_of(model_asked(ending.command))
        used = self.by_model or ({self.model: self.tokens} if self.model and self.tokens else {})
        return AgentResult(
            format=kind,
            end_class=found,
            text=text,
            error=text_of(error) if failed else None,
            misfits=tuple(self.misfits),
            cost=None if self.cost is None else Cost(amount=self.cost, currency="USD", basis=CostBasis.REPORTED),
            tokens=self.tokens or all_tokens(self.by_model.values()),
            by_model=used,
            model_asked=asked,
            model_served=self.model,
            session=self.session,
            resume=_resume(kind, ending.command[0], self.session) if ending.command else None,
            limit=self.limit if found is EndClass.QUOTA else None,
            reset_at=reset if found is EndClass.QUOTA else None,
            denied=tuple(self.denied),
        )

    def _class(self, error: str | None, err: Output) -> EndClass:
        if self.end_class is not None:
            return self.end_class
        told = class_of_status(self.status) or class_of_message(error)
        if told is None and self.error is None:
            told = class_of_message(err.end)
        return told or (EndClass.REFUSED if self.denied and self.failed is not False else EndClass.TASK)


_RESUME = {
    ResultFormat.CLAUDE: ("--resume",),
    ResultFormat.CODEX: ("resume",),
    ResultFormat.GEMINI: ("--resume",),
    ResultFormat.LLM: ("--cid",),
    ResultFormat.OPENCODE: ("--session",),
}


def _resume(kind: ResultFormat, program: str, session: str | None) -> tuple[str, ...] | None:
    return None if session is None or kind not in _RESUME else (program, *_RESUME[kind], session)
