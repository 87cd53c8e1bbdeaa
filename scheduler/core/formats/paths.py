"""Root-relative paths and globs that job files and scheduler.yaml may contain: POSIX, and never outside the root."""

from __future__ import annotations

import posixpath
import re

from scheduler.core.values.texts import InputError, short

MAX_LENGTH = 1000

# What check_path and check_glob accept, for editors, through the JSON Schema.
PATH_PATTERN = r"^(?!~)(?=[\s\S]*\S)[^./\\][^/\\]*(/[^./\\][^/\\]*)*$"
GLOB_PATTERN = r"^(?![\s\S]*([^/]\*\*|\*\*[^/]|[{}]))(?!!)" + PATH_PATTERN[1:]


class PathError(InputError):
    """A path that is not root-relative. `hint` has the correct one if it can be determined."""


def check_path(path: str, *, folder: str = "", what: str = "path") -> None:
    """Refuse everything but a plain path below the root, without looking at the disk.

    folder: root-relative folder that `../` was probably relative to; only the hint uses it.
    what: what the message calls it.
    Raises: PathError.
    """
    if not path.strip():
        raise PathError(f"{what} is empty", hint="write it relative to the folder of scheduler.yaml")
    parts = path.split("/")
    if len(path) > MAX_LENGTH:
        raise PathError(f"{what} has {len(path)} characters; the maximum is {MAX_LENGTH}")
    if "\0" in path:
        raise PathError(
            f"{what} {short(path)} contains a NUL character", hint="delete the NUL character; no file name contains one"
        )
    if "\\" in path:
        reason = "has a backslash"
        meant = path.replace("\\", "/")
    elif path.startswith(("/", "~")):
        reason = "is absolute" if path.startswith("/") else "starts with ~"
        message = f"{what} {short(path)} {reason}; it must be relative to the folder of scheduler.yaml"
        raise PathError(message, hint="write the part below the folder of scheduler.yaml")
    elif ".." in parts:
        reason = "has a .. component"
        meant = posixpath.join(folder, path) if parts[0] == ".." else path
    elif "." in parts or "" in parts:
        reason = "has an empty or . component"
        meant = path
    elif any(part.startswith(".") for part in parts):
        named = next(part for part in parts if part.startswith("."))
        raise PathError(
            f"{what} {short(path)} goes through {short(named)}; files and folders that start with a dot are never read",
            hint="move it out of the dot folder, or name another file",
        )
    else:
        return
    message = f"{what} {short(path)} {reason}; it must be relative to the folder of scheduler.yaml and stay inside it"
    raise PathError(message, hint=_write(posixpath.normpath(meant)))


def is_path(path: str) -> bool:
    """True if `check_path` accepts it."""
    try:
        check_path(path)
    except PathError:
        return False
    return True


def check_glob(glob: str) -> None:
    """Refuse a glob that could leave the root or enter a dot folder, or that uses unsupported syntax.

    Unsupported are a `**` that would not recurse, braces, and a leading `!`.

    Raises: PathError.
    """
    check_path(glob, what="glob")
    if "{" in glob or "}" in glob:
        message = f"glob {short(glob)} has braces, which match only literal braces"
        raise PathError(
            message, hint=_choices(glob) or "write one glob for each alternative; to match a brace in a name, write ?"
        )
    if glob.startswith("!"):
        hint = "name only the files to include, or move the others to another folder; to match a ! in a name, write ?"
        raise PathError(f"glob {short(glob)} starts with !, but globs cannot exclude files", hint=hint)
    parts = glob.split("/")
    glued = next((part for part in parts if "**" in part and part != "**"), None)
    if glued is not None:
        split = "/".join(part if part == "**" else part.replace("**", "**/*") for part in parts)
        message = f"glob {short(glob)} has ** inside a path component, where it matches no folders"
        raise PathError(message, hint=f"write {split!r}" if glued.startswith("**") and glued.count("*") == 2 else "")


def _choices(glob: str) -> str:
    """The hint that expands one pair of braces; empty if there are more, or if a resulting glob would be refused."""
    found = re.fullmatch(r"([^{}]*)\{([^{}]*,[^{}]*)\}([^{}]*)", glob)
    globs = [found[1] + each.strip() + found[3] for each in found[2].split(",")] if found else []
    if not globs or len(globs) > 5 or not all(map(_is_plain, globs)):
        return ""
    return f"write {', '.join(map(short, globs))}"


def _is_plain(path: str) -> bool:
    parts = path.split("/")
    return "\\" not in path and not path.startswith("~") and not any(not part or part[0] == "." for part in parts)


def _write(path: str) -> str:
    """The hint naming a corrected path, or the rule if that path would be refused too."""
    return f"write {short(path)}" if _is_plain(path) else "write the part below the folder of scheduler.yaml"
