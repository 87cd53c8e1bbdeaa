"""What a run of an agent was: its answer, cost, tokens, model and session, and the class of its end.

None means unknown, never zero.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from scheduler.core.values.codec import Stored, unsaid

_MILLION = 1_000_000


class ResultFormat(StrEnum):
    """What a program prints. All but text are the JSON formats of the program of that name."""

    TEXT = "text"
    CLAUDE = "claude"
    CODEX = "codex"
    GEMINI = "gemini"
    LLM = "llm"
    OPENCODE = "opencode"
    GOOSE = "goose"


def told_format(command: Sequence[str]) -> ResultFormat:
    """The format of a program's output, told from the name of the program alone."""
    name = posixpath.basename(command[0]) if command else ""
    return ResultFormat(name) if name in list(ResultFormat) else ResultFormat.TEXT


def model_asked(command: Sequence[str]) -> str | None:
    """The model that a command names, with the option all these programs share: `--model NAME` or `-m NAME`."""
    for number, word in enumerate(command):
        if word == "--":
            return None
        if word in ("--model", "-m"):
            return command[number + 1] if number + 1 < len(command) else None
        if word.startswith("--model="):
            return word.removeprefix("--model=") or None
    return None


class EndClass(StrEnum):
    """Why a run ended."""

    OK = "ok"
    TASK = "task"  # it ran, and failed at its task
    QUOTA = "quota"  # the account's limit is reached
    CREDENTIAL = "credential"  # not logged in, expired or rejected
    TRANSIENT = "transient"  # overloaded, a server error, the network
    BUDGET = "budget"  # the program's own cap on what it spends
    REFUSED = "refused"  # permissions it was denied made it give up
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens(Stored):
    """Tokens by kind. The kinds do not overlap, except that `reasoning` is a part of `output`."""

    input: int | None = None  # neither read from nor written to a cache
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None

    def __bool__(self) -> bool:
        """True if anything is known."""
        return any(getattr(self, each.name) is not None for each in fields(self))

    @property
    def total(self) -> int | None:
        """All tokens, or None if input or output is unknown."""
        if self.input is None or self.output is None:
            return None
        return self.input + self.output + (self.cache_read or 0) + (self.cache_write or 0)


def all_tokens(found: Iterable[Tokens]) -> Tokens | None:
    """The sum. A kind that one of them does not know is unknown."""
    each = list(found)
    sums: dict[str, int | None] = {}
    for kind in fields(Tokens):
        known = [getattr(one, kind.name) for one in each]
        sums[kind.name] = None if not known or None in known else sum(known)
    return Tokens(**sums) or None


class CostBasis(StrEnum):
    REPORTED = "reported"  # by the program: its own estimate
    COMPUTED = "computed"  # from tokens and the prices of scheduler.yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost(Stored):
    amount: Decimal
    currency: str  # ISO 4217
    basis: CostBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(Stored):
    """What a model costs, per million tokens."""

    model: str  # as the program names it
    input: Decimal
    output: Decimal
    cache_read: Decimal | None = None  # None: as input
    cache_write: Decimal | None = None  # None: as input
    currency: str = "USD"
    as_of: str  # the day on which somebody looked it up: YYYY-MM-DD


def cost_of(used: Mapping[str, Tokens], prices: Iterable[Price]) -> Cost | None:
    """What these tokens cost, by model. None if a price, the input or the output is unknown, or currencies differ."""
    known = {each.model: each for each in prices}
    amount, currencies = Decimal(0), set()
    for model, tokens in used.items():
        price = known.get(model)
        if price is None or tokens.input is None or tokens.output is None:
            return None
        currencies.add(price.currency)
        amount += tokens.input * price.input + tokens.output * price.output
        amount += (tokens.cache_read or 0) * (price.input if price.cache_read is None else price.cache_read)
        amount += (tokens.cache_write or 0) * (price.input if price.cache_write is None else price.cache_write)
    if len(currencies) != 1:
        return None
    return Cost(amount=amount / _MILLION, currency=currencies.pop(), basis=CostBasis.COMPUTED)


def all_costs(found: Iterable[Cost | None]) -> Cost | None:
    """The sum. None if there is none, one of them is unknown, or currencies differ."""
    each = list(found)
    known = [one for one in each if one is not None]
    if len(known) < len(each) or len({one.currency for one in known}) != 1:
        return None
    reported = all(one.basis is CostBasis.REPORTED for one in known)
    return Cost(
        amount=sum((one.amount for one in known), Decimal(0)),
        currency=known[0].currency,
        basis=CostBasis.REPORTED if reported else CostBasis.COMPUTED,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel(Stored):
    """A run that another model has answered than the one it asked for."""

    run_id: str
    asked: str
    served: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult(Stored):
    """What the whole output of an attempt says."""

    format: ResultFormat
    end_class: EndClass
    text: str | None = unsaid(None)  # the answer, or an error that is printed as the answer; at most 64 KiB
    error: str | None = unsaid(None)
    misfits: tuple[str, ...] = unsaid(())  # what in the output is not as the format has it
    cost: Cost | None = unsaid(None)
    tokens: Tokens | None = unsaid(None)
    by_model: Mapping[str, Tokens] = field(default_factory=dict, metadata={"absent": "written"})
    model_asked: str | None = unsaid(None)
    model_served: str | None = unsaid(None)  # the one that gave the answer
    session: str | None = unsaid(None)
    resume: tuple[str, ...] | None = unsaid(None)  # the command that continues the session, as words
    limit: str | None = unsaid(None)  # the limit that was reached, as the program calls it
    reset_at: datetime | None = unsaid(None)  # aware UTC; as told, so possibly in the past
    denied: tuple[str, ...] = unsaid(())  # tools it may not use, in the order of their first denial

    @property
    def fits(self) -> bool:
        """True if the output has the shape of its format."""
        return not self.misfits

    @property
    def other_model(self) -> bool:
        """True if the model that answered is known not to be the one asked for."""
        if self.model_asked is None or self.model_served is None:
            return False
        asked, served = self.model_asked.rpartition("/")[2].lower(), self.model_served.rpartition("/")[2].lower()
        return asked not in served  # an alias such as "sonnet" is part of the full name
