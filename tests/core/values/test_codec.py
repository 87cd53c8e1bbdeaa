"""What the store keeps of a value, key by key: stored definitions are read again for years, and digests name them."""

from __future__ import annotations

import json
import os
from dataclasses import MISSING, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.budget import Budget, RootBudget
from scheduler.core.values.channels import Alerts, Channel, DeliverOn, Detail, Heartbeat
from scheduler.core.values.problems import Problem, Severity
from scheduler.core.values.settings import Agents, Limits, Prune, Retention, RunnerSpec, Settings, TaskInput, Worktree
from scheduler.core.values.spec import (
    CatchUp,
    CatchUpPolicy,
    CheckSpec,
    Concurrency,
    ExpectSpec,
    JobSpec,
    Retry,
    Schedule,
)
from scheduler.core.values.usage import Price, ResultFormat

GOLDEN = Path(__file__).parents[2] / "golden" / "values"
AT = datetime(2026, 3, 29, 1, 30, 0, 250_000, tzinfo=UTC)
CRON = Schedule(timezone="Europe/Berlin", cron="*/5 * * * *")
EVERY = Schedule(
    timezone="UTC",
    every=timedelta(minutes=5),
    phase=timedelta(seconds=30),
    starts=AT,
    ends=AT + timedelta(days=1),
    jitter=timedelta(milliseconds=1500),
)
UNION = Schedule(
    timezone="UTC", union=(CRON, EVERY, Schedule(timezone="UTC", at=AT)), jitter=timedelta(milliseconds=1500)
)
RUNNER = RunnerSpec(
    name="claude",
    command=("claude", "-p", "{task}"),
    input=TaskInput.ARG,
    env=(("A", "1"), ("B", "ö")),
    env_from=("KEY",),
    job_env=("MODE", "A"),
    tasks=("prompts/**",),
    jobs=("tag:agent",),
    max_timeout=timedelta(hours=2),
    cwd="work",
    files=(("bin/a", "sha256:0a executable"),),
    result_format=ResultFormat.TEXT,
    model="sonnet",
    job_models=("sonnet", "claude-haiku-*"),
    job_args=(("--max-turns", "[0-9]+"), ("--verbose", None)),
    workdirs=("fresh", "~/src"),
    account="team",
    task_queue="gpu",
)
PRICE = Price(
    model="gpt-5",
    input=Decimal("1.25"),
    output=Decimal(10),
    cache_read=Decimal("0.125"),
    cache_write=Decimal("1.5"),
    currency="EUR",
    as_of="2026-12-01",
)
CHANNEL = Channel(
    name="ci",
    url="ntfys://${env:TOKEN}@ntfy.example.com/topic",
    webhook="https://ci.example.com/hook",
    secrets=("${env:NEW}", "${file:/run/old}"),
    command=("./bin/page.sh", "-v"),
    env_from=("PAGER_TOKEN",),
    ping="https://hc.example.com/x",
    detail=Detail.SHORT,
    files=(("bin/page.sh", "sha256:0a executable"),),
)

CHECK = CheckSpec(
    runner="sh", task="exit 10", task_source_path="checks/a.sh", timeout=timedelta(seconds=5), output="append"
)
EXPECT = ExpectSpec(result="/done/", file="out/a.md")
VALUES: dict[str, Any] = {
    "schedule-cron": CRON,
    "schedule-every": EVERY,
    "schedule-at": Schedule(timezone="UTC", at=AT.replace(microsecond=0), ends=AT),
    "schedule-manual": Schedule(timezone="UTC"),
    "schedule-union": UNION,
    "catch-up": CatchUp(),
    "catch-up-full": CatchUp(policy=CatchUpPolicy.ALL, within=timedelta(minutes=90)),
    "retry": Retry(),
    "retry-full": Retry(
        attempts=3, delay=timedelta(seconds=5), backoff=1.5, max_delay=timedelta(minutes=10), on=("interrupted",)
    ),
    "job": JobSpec(id="a", name="a", schedule=CRON, runner="cat"),
    "job-full": JobSpec(
        id="a",
        name="Ä job",
        description="What it does",
        owner="platform@example.com",
        tags=("b", "a"),
        enabled=False,
        schedule=UNION,
        task_source_path="prompts/a.md",
        runner="claude",
        env=(("A", "1"), ("MODE", "nightly")),
        timeout=timedelta(minutes=20),
        concurrency=Concurrency.QUEUE,
        failure_limit=0,
        expires=AT,
        retry=Retry(attempts=2),
        expect_every=timedelta(days=1),
        catch_up=CatchUp(policy=CatchUpPolicy.NONE, within=timedelta(minutes=1)),
        model="sonnet",
        args=("--max-turns", "5"),
        workdir="~/src/site",
        task_queue="gpu",
        check=CHECK,
        expect=EXPECT,
        budget=Budget(per_run=Decimal("0.50"), per_day=Decimal(5), per_month=Decimal("62.5")),
        deliver=("owner", "ci"),
        deliver_on=(DeliverOn.SUCCESS, DeliverOn.SKIP),
        ping="${env:HC}",
    ),
    "expect": ExpectSpec(),
    "expect-full": EXPECT,
    "check": CheckSpec(runner="sh", task="exit 10"),
    "check-full": CHECK,
    "settings": Settings(),
    "settings-full": Settings(
        version=2,
        jobs=("x/*.md",),
        timezone="Europe/Berlin",
        defaults={"timeout": "5m", "env": {"A": "1"}},
        runners={
            "shell": RunnerSpec(name="shell", command=("sh", "{task_file}"), input=TaskInput.FILE),
            "claude": RUNNER,
        },
        hosts=("prod-*",),
        limits=Limits(max_jobs=1, task_bytes=2, output_bytes=3, max_running=4),
        prune=Prune(max_percent=1, max_jobs=2),
        retention=Retention(output_days=0, runs=5, worktree_days=0, worktrees=5),
        agents=Agents(jobs=("a", "tag:b"), verbs=(), fields=("task",), paths=("jobs/**",), edits="commit"),
        worktree=Worktree(branch="main", dirty="skip"),
        prices=(PRICE,),
        currency="EUR",
        budget=RootBudget(per_day=Decimal(20), per_month=Decimal(200)),
        channels={"owner": Channel(name="owner", url="${env:OWNER}", detail=Detail.FULL), "ci": CHANNEL},
        alerts=Alerts(deliver=("owner",), heartbeat=Heartbeat(url="${env:HC}", every=timedelta(minutes=2))),
        base_url="https://scheduler.internal",
    ),
    "settings-with-agents": Settings(agents=Agents(jobs=("*",))),
    "problem": Problem("a.yaml", 1, 2, "key.unknown", "unknown key 'x'"),
    "problem-full": Problem("a.yaml", 1, 2, "x.y", "so", hint="say it", severity=Severity.WARNING, job_id="a"),
}
JSON_OF = {name: value.to_json() for name, value in VALUES.items()}

# Keys that stored values may lack; each of the others is needed.
LATER = {
    "schedule-union": {"any", "jitter_ms"},
    "schedule-every": {"every_ms", "phase_ms", "starts", "ends", "jitter_ms"},
    "job-full": {
        "failure_limit",
        "expires",
        "retry",
        "expect_every_ms",
        "catch_up",
        "model",
        "args",
        "workdir",
        "task_queue",
        "check",
        "expect",
        "budget",
        "deliver",
        "deliver_on",
        "ping",
    },
    "settings-full": {
        "retention",
        "agents",
        "worktree",
        "prices",
        "currency",
        "budget",
        "channels",
        "alerts",
        "base_url",
    },
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_stored_under_the_keys_and_in_the_order_it_always_was(name: str) -> None:
    text = json.dumps(JSON_OF[name], ensure_ascii=False, indent=1) + "\n"
    if isinstance(VALUES[name], JobSpec):
        text += VALUES[name].digest + "\n"
    if os.environ.get("GOLDEN") == "write":
        (GOLDEN / f"{name}.txt").write_text(text)
    assert text == (GOLDEN / f"{name}.txt").read_text()


@pytest.mark.parametrize("name", VALUES)
def test_a_stored_value_is_read_back_equal(name: str) -> None:
    found = type(VALUES[name]).from_json(json.loads(json.dumps(JSON_OF[name])))
    assert found == VALUES[name]
    assert repr(found) == repr(type(found).from_json(found.to_json()))


@pytest.mark.parametrize("name", [name for name in VALUES if name.endswith("-full")])
def test_the_fullest_values_set_every_key(name: str) -> None:
    found = [VALUES[name]]
    if isinstance(found[0], Settings):
        found += [
            RUNNER,
            PRICE,
            CHANNEL,
            *(value for each in fields(found[0]) if is_dataclass(value := getattr(found[0], each.name))),
        ]
    for value in found:
        defaults = {each.name: each.default for each in fields(value) if each.default is not MISSING}
        assert [key for key, default in defaults.items() if getattr(value, key) == default] == []


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in LATER for key in JSON_OF[name]])
def test_only_keys_that_came_later_may_be_absent(name: str, key: str) -> None:
    value, stored = VALUES[name], {each: found for each, found in JSON_OF[name].items() if each != key}
    if key not in LATER[name]:
        with pytest.raises(KeyError, match=key):
            type(value).from_json(stored)
        return
    field = {"any": "union"}.get(key, key.removesuffix("_ms"))
    default = next(
        each.default if each.default_factory is MISSING else each.default_factory()
        for each in fields(value)
        if each.name == field
    )
    assert getattr(type(value).from_json(stored), field) == default


def test_runners_and_limits_stored_before_all_their_keys_were_known_get_the_defaults() -> None:
    stored = Settings(runners={"claude": RUNNER}).to_json()
    for key in ("jobs", "max_timeout_ms"):
        del stored["runners"]["claude"][key]
    del stored["limits"]["max_running"]
    found = Settings.from_json(stored)
    assert found == Settings(runners={"claude": replace(RUNNER, jobs=None, max_timeout=None)})


def test_unknown_keys_of_a_definition_are_passed_over() -> None:
    assert JobSpec.from_json({**JSON_OF["job-full"], "x": 1}) == VALUES["job-full"]


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("tags", None),
        ("env", []),
        ("env", None),
        ("timeout_ms", "5m"),
        ("timeout_ms", None),
        ("concurrency", "never"),
        ("concurrency", None),
        ("expires", "tomorrow"),
        ("expires", "2026-01-01T00:00:00"),
        ("retry", None),
        ("retry", {}),
        ("catch_up", {"policy": "latest"}),
        ("expect_every_ms", "1d"),
        ("check", {"runner": "sh"}),
        ("schedule", None),
        ("schedule", {}),
        ("schedule", {"timezone": "UTC", "any": [{}]}),
    ],
)
def test_a_definition_of_another_shape_is_not_read(key: str, wrong: Any) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        JobSpec.from_json({**JSON_OF["job-full"], key: wrong})
