"""What a reviewer needs to know first: the counts of a review, jobs that run more often, and changes that add power.

Built from the JSON of a review, so that all its outputs say the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scheduler.core.values.settings import converted_file_of
from scheduler.core.values.texts import counted

Json = Mapping[str, Any]
_MOST_JOBS = 3  # named in a headline


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """One thing that a change lets jobs do, or lets people do to jobs, that they could not do before."""

    kind: Literal["pair", "field", "setting", "conversion"]
    jobs: tuple[str, ...]  # the jobs that get it; for a setting, the jobs that it applies to
    field: str = ""  # a key of the jobs or of scheduler.yaml
    before: Any = None
    after: Any = None
    runner: str = ""  # for pairs and changes of the runner: the new runner of the jobs
    back: bool = False  # for pairs: the jobs existed before
    env: Mapping[str, str] | None = None  # for pairs
    deliver: tuple[str, ...] = ()  # for pairs: the channels that are told
    ping: str | None = None  # for pairs
    timeout_ms: int = 0  # for pairs
    paths: tuple[str, ...] = ()  # for conversions: the files that a checkout changes

    @property
    def title(self) -> str:
        """The description of the jobs of a pair: new or back, singular or plural."""
        jobs = "job" if len(self.jobs) == 1 else "jobs"
        return f"{jobs} back" if self.back else f"new {jobs}"


def powers(shown: Json) -> list[Power]:
    """The new job-runner pairs, wider job fields, wider settings, and conversions; one entry per change."""
    return [*_pairs(shown), *_fields(shown), *_settings(shown), *_conversions(shown)]


def _pairs(shown: Json) -> Iterator[Power]:
    groups: dict[tuple[Any, ...], list[str]] = {}
    for pair in shown["runner_pairs"]:
        job = shown["jobs"][pair["id"]]
        told = tuple(job["deliver"]), job["ping"]
        key = pair["runner"], job["change"] == "revived", tuple(job["env"].items()), job["timeout_ms"], *told
        groups.setdefault(key, []).append(pair["id"])
    for (runner, back, env, timeout, deliver, ping), jobs in groups.items():
        given = {"env": dict(env), "timeout_ms": timeout, "deliver": deliver, "ping": ping}
        yield Power(kind="pair", jobs=tuple(jobs), runner=runner, back=back, **given)


def _fields(shown: Json) -> Iterator[Power]:
    groups: dict[tuple[str, str], tuple[Json, list[str]]] = {}
    for update in shown["updated"]:
        for field in update["widens"]:
            if field not in update["inherited"]:
                change = update["changes"][field]
                groups.setdefault((field, repr(change)), (change, []))[1].append(update["id"])
    for (field, _), (change, jobs) in groups.items():
        runner = change["after"] if field == "runner" else ""
        yield Power(kind="field", jobs=tuple(jobs), field=field, **change, runner=runner)


def _settings(shown: Json) -> Iterator[Power]:
    for change in shown["root_changed"]:
        if change["widens"] and converted_file_of(change["field"]) is None:
            field, before, after = change["field"], change["before"], change["after"]
            runner = after if field == "defaults.runner" and after else ""
            jobs = tuple(change.get("jobs", ()))
            yield Power(kind="setting", jobs=jobs, field=field, before=before, after=after, runner=runner)


def _conversions(shown: Json) -> Iterator[Power]:
    groups: dict[tuple[Any, Any], list[tuple[str, Json]]] = {}
    for change in shown["root_changed"]:
        if (path := converted_file_of(change["field"])) is not None:
            groups.setdefault((change["before"], change["after"]), []).append((path, change))
    for (before, after), found in groups.items():
        jobs = tuple(sorted({job for _, change in found for job in change["jobs"]}))
        paths, field = tuple(path for path, _ in found), found[0][1]["field"]
        yield Power(kind="conversion", jobs=jobs, field=field, before=before, after=after, paths=paths)


def more_runs(shown: Json, name: Callable[[str], str]) -> list[str]:
    """The jobs whose runs multiply, largest increase first. name: formats a job id."""
    changed = [(job_id, job) for job_id, job in shown["jobs"].items() if job["before"] and job["after"]]
    often = [(job["runs_factor"], job_id) for job_id, job in changed if job["runs_factor"]]
    said = [
        f"{name(job_id)}: {times_as_many(factor)}"
        for factor, job_id in sorted(often, key=lambda each: (-each[0], each[1]))
    ]
    for job_id, job in changed:
        runs = job["after"]["runs_per_month"]
        if job["after"]["next_fires"] and not job["before"]["next_fires"]:
            said.append(f"{name(job_id)}: {runs:,} {'run' if runs == 1 else 'runs'} in 30 days, none before")
    more = len(said) - _MOST_JOBS
    tail = [f"{counted(more, 'more job runs', 'more jobs run')} more often"] if more > 0 else []
    return [*said[:_MOST_JOBS], *tail]


def times_as_many(factor: float) -> str:
    return (
        f"{factor:,.0f} times as many runs" if factor >= 10 or factor == int(factor) else f"{factor} times as many runs"
    )


def headline(shown: Json, *, read: bool, name: Callable[[str], str], strong: Callable[[str], str]) -> str:
    """The headline, on one line. read: True if scheduler.yaml could be used; strong: formats what must stand out."""
    if not read:
        return f"{name('scheduler.yaml')} cannot be used"
    guard = shown["guard"]
    counts = [
        (len(shown["created"]), "added"),
        (len(shown["revived"]), "back"),
        (len(shown["updated"]), "changed"),
        (len(shown["task_changed"]), "with another text"),
        (len(shown["moved"]), "moved"),
        (len(shown["archived"]), "removed"),
        (0 if guard is None else guard["would_archive"], "held back by the guard"),
    ]
    said = [f"{counted(n, 'job')} {word}" for n, word in counts if n]
    settings = len(shown["root_changed"])
    said += [f"{counted(settings, 'setting')} changed"] if settings else []
    said += map(strong, more_runs(shown, name))
    wider = len(powers(shown))
    said += [strong(f"{counted(wider, 'change gives', 'changes give')} more power")] if wider else []
    bad = sum(problem["severity"] == "error" for problem in shown["problems"])
    said += [strong(counted(bad, "error"))] if bad else []
    return ", ".join(said) or "nothing changes"


def own_changes(update: Json) -> dict[str, Any]:
    """The changes of a job that do not merely follow a default of scheduler.yaml."""
    return {field: change for field, change in update["changes"].items() if field not in update["inherited"]}


def retimed(job: Json) -> bool:
    """True if a reviewed job runs at different times: its schedule text, next fires or number of runs changed."""
    return bool(job["before"] != job["after"])


def common_zone(*sides: Json | None) -> str:
    """The time zone of all these fires, or an empty string if they have none or more than one."""
    zones = {fire["timezone"] for side in sides if side is not None for fire in side["next_fires"]}
    return zones.pop() if len(zones) == 1 else ""


def fires_of(side: Json, zone: str) -> list[str]:
    """The next fires of one side. Each shows its zone, except for `zone`, which the title already names."""
    return [fire["wall"] if fire["timezone"] == zone else fire["local"] for fire in side["next_fires"]]
