"""What `agents` in scheduler.yaml allows to the tool and to a run that edits jobs.

A guard rail, not a boundary: anyone who can write files can go around it. An edit is judged by the files it would
write, not by the words of the request, so a rollback follows the same rules as an update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.core.formats.globs import matches_any, matches_job
from scheduler.core.values.settings import ROOT_FILE, Agents

BRANCHES = "agents/"  # prefix of the branches that agents create
_NO_FIELDS = frozenset({"id"})  # implied by the name of the job
HOW = "a person can allow it below agents in scheduler.yaml"


@dataclass(frozen=True, slots=True)
class Denied:
    """What an agent may not do, and what it can do instead."""

    message: str
    hint: str


def check_verb(policy: Agents | None, verb: str) -> Denied | None:
    """Check that an agent may use the verb at all."""
    if policy is None:
        message = f"agents may not {verb} here: scheduler.yaml has no agents"
        return Denied(message, "propose the change to a person; reading is always allowed")
    if verb not in policy.verbs:
        return Denied(f"agents may not {verb} here; agents.verbs allows {', '.join(policy.verbs)}", HOW)
    return None


def check_job(policy: Agents, verb: str, job_id: str, tags: Sequence[str]) -> Denied | None:
    """tags: those that the job had before this request."""
    if matches_job(job_id, tags, policy.jobs):
        return None
    return Denied(f"agents may not {verb} job {job_id!r}; agents.jobs allows {', '.join(policy.jobs)}", HOW)


def check_fields(policy: Agents, fields: Sequence[str]) -> Denied | None:
    """fields: the keys of a job that would change; `task` stands for its text, wherever that is."""
    bad = [name for name in fields if name not in policy.fields and name not in _NO_FIELDS]
    if not bad:
        return None
    allowed = ", ".join(policy.fields)
    return Denied(
        f"agents may not change {', '.join(bad)}; agents.fields allows {allowed}", f"leave it as it is; {HOW}"
    )


def check_agent_path(policy: Agents, path: str) -> Denied | None:
    """path: a file that is new, or that did not belong to the job so far."""
    if path == ROOT_FILE:
        return Denied(f"agents never write {ROOT_FILE}", "a person decides what it says")
    if matches_any(path, policy.paths):
        return None
    allowed = f"allows {', '.join(policy.paths)}" if policy.paths else "allows no new file"
    return Denied(f"agents may not write {path}; agents.paths {allowed}", HOW)


def check_branch(name: str) -> Denied | None:
    if name.startswith(BRANCHES):
        return None
    return Denied(
        f"agents may not write branch {name!r}: their branches begin with {BRANCHES}", f"name it {BRANCHES}{name}"
    )


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[str]:
    """The keys that only one of two job documents has, or whose values differ."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if (name in before) != (name in after) or before.get(name) != after.get(name)]
