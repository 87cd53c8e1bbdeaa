"""Which commits changed what a pass applies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from scheduler.core.plan.audit import Origin, origins
from scheduler.core.plan.desired import Read
from scheduler.core.plan.plan import Plan
from scheduler.core.values.facts import Fault
from scheduler.core.values.settings import ROOT_FILE
from scheduler.git.history import ONE_FILE_S, WHOLE_PASS_S, last_changes
from scheduler.git.tree import Tree, read_tree
from scheduler.root.reading import read_file
from scheduler.root.settings import ROOT_FILE_BYTES


def changed_by(root: Path, plan: Plan, *, timeout: float) -> Mapping[str, Origin]:
    """For each file that a change of the plan stands in: the commit that brought it, or why there is none.

    Empty outside a repository, and where git says nothing at all.
    """
    if plan.revision is None:
        return {}
    found: dict[str, Origin] = {}
    wanted: dict[str, tuple[str, str | None]] = {}  # by the name the job knows it by: git's name, and the blob
    paths = origins(plan)
    unread = sorted(path for path in paths if path not in plan.sources)
    tree = read_tree(root, *unread, revision=plan.revision) if unread else Tree()
    for path in paths:
        read = plan.sources.get(path)
        if read is None and path == ROOT_FILE:
            read = _root_file(root, tree)
        if read is None:  # it is gone, or no part of what was read
            in_commit, on_disk = path in tree.blobs, os.path.lexists(root / path)
            if in_commit or on_disk:
                found[path] = "uncommitted" if in_commit != on_disk else "unknown"
            else:
                wanted[path] = path, None
        elif read.provenance.dirty in ("modified", "untracked"):
            found[path] = "uncommitted"
        elif read.provenance.revision != plan.revision or read.provenance.blob is None:
            found[path] = "unknown"
        else:
            wanted[path] = read.path, read.provenance.blob
    told = last_changes(root, [plan.revision], wanted.values(), timeout=timeout)
    for path, key in wanted.items():
        if key in told:
            found[path] = told[key]
        else:
            found[path] = "unknown" if key[1] is not None else "uncommitted"  # one that no commit ever held
    return found


def _root_file(root: Path, tree: Tree) -> Read | None:
    data = read_file(root, ROOT_FILE, limit=ROOT_FILE_BYTES)
    return None if isinstance(data, Fault) else Read(ROOT_FILE, tree.provenance(ROOT_FILE, data))


def budget(only: str | None) -> float:
    """Seconds that a pass over all files, or over one, may wait for git's history."""
    return WHOLE_PASS_S if only is None else ONE_FILE_S
