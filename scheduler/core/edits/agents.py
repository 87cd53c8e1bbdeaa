"""What `agents` in scheduler.yaml allows to whoever is no person: the tool, and a run that edits jobs.

A guard rail and no wall: who can write files can go around it. What an edit does is judged by the files it would
write, not by the words it was asked for with, so a rollback is held to the same rules as an update.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scheduler.core.formats.globs import matches_any, matches_job
from scheduler.core.values.settings import ROOT_FILE, Agents

BRANCHES = "agents/"  # what the names of their branches begin with
_NO_FIELDS = frozenset({"id"})  # given by the name of the job
HOW = "a person can allow it below agents in scheduler.yaml"


@dataclass(frozen=True, slots=True)
class Denied:
    """What an agent may not do, and what it can do instead."""

    message: str
    hint: str


def check_verb(policy: Agents | None, verb: str) -> Denied | None:
    """Whether the verb is allowed at all."""
    if policy is None:
        message = f"agents may not {verb} here: scheduler.yaml has no agents"
        return Denied(message, "propose the change to a person; reading is always allowed")
    if verb not in policy.verbs:
        return Denied(f"agents may not {verb} here; agents.verbs allows {', '.join(policy.verbs)}", HOW)
    return None


def check_job(policy: Agents, verb: str, job_id: str, tags: Sequence[str]) -> Denied | None:
    """tags: those it had before whatever is asked for."""
    if matches_job(job_id, tags, policy.jobs):
        return None
    return Denied(f"agents may not {verb} job {job_id!r}; agents.jobs allows {', '.join(policy.jobs)}", HOW)


def check_fields(policy: Agents, fields: Sequence[str]) -> Denied | None:
    """fields: the keys of a job that would change, `task` for its text wherever that stands."""
    bad = [name for name in fields if name not in policy.fields and name not in _NO_FIELDS]
    if not bad:
        return None
    allowed = ", ".join(policy.fields)
    return Denied(
        f"agents may not change {', '.join(bad)}; agents.fields allows {allowed}", f"leave it as it is; {HOW}"
    )


def check_agent_path(policy: Agents, path: str) -> Denied | None:
    """path: a file that is new, or that the job had nothing to do with so far."""
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
    """The keys that one of two job documents has and the other has not, or has with another value."""
    names = dict.fromkeys([*before, *after])
    return [name for name in names if (name in before) != (name in after) or before.get(name) != after.get(name)]
