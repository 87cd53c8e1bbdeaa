"""The forge of a root's repository, as far as links to it go."""

from __future__ import annotations

import contextlib
from pathlib import Path

from scheduler.core.values.forge import Forge, forge_of
from scheduler.core.values.problems import SchedulerError
from scheduler.git.folder import origin_url, repository_top
from scheduler.service.root import Root


def forge_of_root(root: Root) -> Forge | None:
    """The forge that the root follows, or that its remote `origin` is on. None if we know no links for it."""
    place = root.place
    if place.followed is not None:
        with contextlib.suppress(SchedulerError):
            remote = place.followed.remote()
            return forge_of(remote.url, remote.path)
        return None
    folder: Path = place.root.resolve()
    top = repository_top(folder)
    return None if top is None else forge_of(origin_url(folder), folder.relative_to(top).as_posix().removeprefix("."))
