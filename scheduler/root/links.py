"""Resolving symbolic links, wherever they are kept."""

from __future__ import annotations

from collections.abc import Callable

_MOST_LINKS = 40  # on one path, as on Linux


def follow_links(
    top: str, path: str, target: Callable[[str], str | None]
) -> tuple[str | None, list[tuple[str, str, bool]]]:
    """Where a path below `top` leads, absolute. None if it leads through too many links, as in a circle.

    Also the way: each folder, the name looked up in it, and whether that is a link.
    target: the target of an absolute path, whose folders are no links, if it is a link. Otherwise None.
    """
    here, left, way, links = top.rstrip("/"), path.split("/")[::-1], list[tuple[str, str, bool]](), 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = here.rpartition("/")[0]
            continue
        to = target(f"{here}/{name}")
        way.append((here or "/", name, to is not None))
        if to is None:
            here = f"{here}/{name}"
            continue
        links += 1
        if links > _MOST_LINKS:
            return None, way
        if to.startswith("/"):
            here = ""
        left += to.split("/")[::-1]
    return here or "/", way
