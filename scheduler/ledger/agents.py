"""What agents' programs said of their runs, as columns of runs and attempts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from sqlite3 import Connection, Row
from typing import Any

from scheduler.core.values.budget import Reservation
from scheduler.core.values.runs import Attempt, Ending, Run
from scheduler.core.values.usage import AgentResult, Cost, CostBasis, OtherModel, Tokens

_NANO = 9  # money is kept in billionths of its currency: SQL adds them exactly


def attempt_columns(ending: Ending) -> dict[str, Any]:
    """The columns of an attempt that ended so."""
    agent = ending.agent
    cost, tokens = (None, None) if agent is None else (agent.cost, agent.tokens)
    return {"end_class": ending.end_class, **_cost_columns(cost), "tokens": _tokens_text(tokens)}


def run_columns(run: Run, ending: Ending) -> dict[str, Any]:
    """The columns of a run whose last attempt ended so."""
    earlier = run.attempts[:-1]
    text = None
    if ending.agent is not None:  # without what has columns of its own
        rest = replace(ending.agent, text=None, error=None, by_model={}, cost=None, tokens=None)
        text = json.dumps(rest.to_json(), ensure_ascii=False)
    return {
        "agent": text,
        "end_class": ending.end_class,
        **_cost_columns(ending.cost_after(earlier)),
        "tokens": _tokens_text(ending.tokens_after(earlier)),
    }


def _cost_columns(cost: Cost | None) -> dict[str, Any]:
    if cost is None:
        return {"cost_nano": None, "currency": None, "cost_basis": None}
    nano = int(cost.amount.scaleb(_NANO).to_integral_value())
    return {"cost_nano": nano, "currency": cost.currency, "cost_basis": cost.basis}


def _tokens_text(tokens: Tokens | None) -> str | None:
    return None if tokens is None else json.dumps(tokens.to_json())


def amount_of(nano: int) -> Decimal:
    """An amount of money from its column."""
    return Decimal(nano).scaleb(-_NANO)


def cost_of_row(row: Row | Mapping[str, Any]) -> Cost | None:
    """Of a run or an attempt."""
    if row["cost_nano"] is None:
        return None
    return Cost(amount=amount_of(row["cost_nano"]), currency=row["currency"], basis=CostBasis(row["cost_basis"]))


def reservation_of_row(row: Row | Mapping[str, Any]) -> Reservation | None:
    """What a run was claimed with."""
    if row["reserved_nano"] is None:
        return None
    return Reservation(amount=amount_of(row["reserved_nano"]), currency=row["reserved_currency"])


def reserved_columns(reserved: Reservation | None) -> dict[str, Any]:
    """The columns of a run that is claimed with so much."""
    if reserved is None:
        return {"reserved_nano": None, "reserved_currency": None}
    return {"reserved_nano": int(reserved.amount.scaleb(_NANO)), "reserved_currency": reserved.currency}


def tokens_of_row(row: Row | Mapping[str, Any]) -> Tokens | None:
    """Of a run or an attempt."""
    return None if row["tokens"] is None else Tokens.from_json(json.loads(row["tokens"]))


def other_models(sql: Connection, job_ids: Iterable[str]) -> dict[str, OtherModel]:
    """By job: whether another model than the one asked for has answered its last run. Asks for each job."""
    found: dict[str, OtherModel] = {}
    last = "SELECT n, agent FROM runs WHERE job_id = ? AND end_class NOTNULL ORDER BY n DESC LIMIT 1"
    for job_id in job_ids:
        row = sql.execute(last, (job_id,)).fetchone()
        agent = None if row is None or row["agent"] is None else AgentResult.from_json(json.loads(row["agent"]))
        if agent is not None and agent.other_model:
            assert agent.model_asked is not None
            assert agent.model_served is not None
            run_id = f"{job_id}:{row['n']}"
            found[job_id] = OtherModel(run_id=run_id, asked=agent.model_asked, served=agent.model_served)
    return found


def total_of(text: str | None) -> int | None:
    """All tokens of a run, from its column. None if input or output is unknown."""
    return None if text is None else Tokens.from_json(json.loads(text)).total


def agent_of_row(row: Row | Mapping[str, Any], attempts: tuple[Attempt, ...]) -> AgentResult | None:
    """Of a run, with what its columns and its last attempt hold."""
    if row["agent"] is None:
        return None
    found = replace(AgentResult.from_json(json.loads(row["agent"])), text=row["result"], error=row["error"])
    return replace(found, cost=attempts[-1].cost, tokens=attempts[-1].tokens) if attempts else found
