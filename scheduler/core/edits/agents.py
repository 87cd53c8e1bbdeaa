"""What `agents` in scheduler.yaml allows to the tool and to a run that edits jobs.

A guard rail, not a boundary: anyone who can write files can go around it. An edit is judged by the files it would
write, not by the words of the request, so a rollback follows the same rules as an update.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from scheduler.core.formats.globs import TAG, matches, matches_any, matches_job
from scheduler.core.formats.rules import ID_PATTERN
from scheduler.core.values.settings import ROOT_FILE, Agents

BRANCHES = "agents/"  # prefix of the branches that agents create
_NO_FIELDS = frozenset({"id"})  # implied by the name of the job
_WILD = re.compile(r"[*?\[\]]")
_ID = re.compile(ID_PATTERN[1:-1])
HOW = "a person can allow it under agents in scheduler.yaml"


@dataclass(frozen=True, slots=True)
class Denied:
    """What an agent may not do, and what it can do instead."""

    message: str
    hint: str
    give: Mapping[str, Any] = field(default_factory=dict)  # that the hint names in braces


def _doing(verb: str, what: str) -> str:
    """`update jobs`: a verb and what it is done to."""
    others = {"test_channel": "test channels", "retry_delivery": f"retry deliveries of {what}"}
    return others.get(verb) or f"{verb} {what}"


def check_verb(policy: Agents | None, verb: str) -> Denied | None:
    """Check that an agent may use the verb at all."""
    if policy is None:
        message = f"agents cannot {_doing(verb, 'jobs')} here: scheduler.yaml has no `agents` section"
        return Denied(message, "propose the change to a person; reading is always allowed")
    if verb not in policy.verbs:
        allowed = ", ".join(policy.verbs)
        return Denied(f"agents cannot {_doing(verb, 'jobs')} here; agents.verbs allows {allowed}", HOW)
    return None


def check_job(policy: Agents, verb: str, job_id: str, tags: Sequence[str], *, is_new: bool = False) -> Denied | None:
    """tags: those that the job had before this request. is_new: no such job is known, so its tags can be chosen."""
    if matches_job(job_id, tags, policy.jobs):
        return None
    message = f"agents cannot {_doing(verb, f'job {job_id!r}')}; agents.jobs allows {', '.join(policy.jobs)}"
    if is_new:
        plain = [pattern for pattern in policy.jobs if not _WILD.search(pattern)]
        tag = next((each.removeprefix(TAG) for each in plain if each.startswith(TAG)), None)
        if tag is not None and "tags" in policy.fields:
            return Denied(message, "give it {tags}", {"tags": [*tags, tag]})
        names = [each.replace("*", job_id, 1) for each in policy.jobs if not each.startswith(TAG) and "*" in each]
        names += [each for each in plain if not each.startswith(TAG)]
        if name := next((each for each in names if _ID.fullmatch(each) and matches_job(each, (), policy.jobs)), None):
            return Denied(message, f"name the job {name}")
    return Denied(message, HOW)


def check_fields(policy: Agents, fields: Sequence[str]) -> Denied | None:
    """fields: the keys of a job that would change; `task` stands for its text, wherever that is."""
    bad = [name for name in fields if name not in policy.fields and name not in _NO_FIELDS]
    if not bad:
        return None
    allowed = ", ".join(policy.fields)
    return Denied(f"agents cannot change {', '.join(bad)}; agents.fields allows {allowed}", f"leave it as it is; {HOW}")


def check_agent_path(
    policy: Agents, path: str, *, hint: str = "write {near} instead", fits: Callable[[str], bool] = lambda _: True
) -> Denied | None:
    """path: a file that is new, or that did not belong to the job so far.

    hint: with `{near}` for a path that is allowed, or `{path}` or `{task_source_path}` for that argument with it.
    fits: whether a file could stand for this one.
    """
    if path == ROOT_FILE:
        return Denied(f"agents cannot change {ROOT_FILE}", "ask a person to change it")
    if matches_any(path, policy.paths):
        return None
    allowed = f"allows {', '.join(policy.paths)}" if policy.paths else "allows no files"
    message = f"agents cannot write {path}; agents.paths {allowed}"
    near = next((each for pattern in policy.paths if (each := _like(path, pattern)) and fits(each)), None)
    if near is None:
        return Denied(message, HOW)
    return Denied(message, hint.replace("{near}", near), dict.fromkeys(("path", "task_source_path"), near))


def _like(path: str, pattern: str) -> str:
    """A path of the same name that the glob matches; empty where none can be told."""
    *folders, last = [part for part in pattern.split("/") if part != "**"] or [""]
    name = path.rpartition("/")[2]
    near = "/".join([*folders, name] if fnmatchcase(name, last) else [*folders, last, name])
    return near if not _WILD.search(near) and matches(near, pattern) else ""


def check_branch(name: str) -> Denied | None:
    if name.startswith(BRANCHES):
        return None
    return Denied(
        f"agents cannot write branch {name!r}: their branches begin with {BRANCHES}", f"name it {BRANCHES}{name}"
    )


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    """The keys that only one of two job documents has, or whose values differ."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if (name in before) != (name in after) or before.get(name) != after.get(name)]
