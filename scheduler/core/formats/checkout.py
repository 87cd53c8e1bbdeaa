"""What git makes of a file on a checkout by its attributes (gitattributes(5)): what runs can differ from the commit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scheduler.core.values.problems import Problem, Severity

ATTRIBUTES = ("text", "crlf", "eol", "ident", "filter", "working-tree-encoding")
KEYWORD = re.compile(rb"\$Id(?::[^$\n]*)?\$")
_NONE = ("unspecified", "unset", "set", "")  # values of `filter` that name no filter
_MOST_LINE_ENDS = 20  # problems: a repository may have them everywhere
_UTF8 = re.compile("utf-?8", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conversion:
    """Attributes by which a checkout holds something else than the commit."""

    words: str  # as .gitattributes has them, such as filter=x
    hides: bool = False  # what runs cannot be told from what the commit holds
    ends_lines: bool = False  # it has CR LF where the commit has LF


def find_conversion(said: Mapping[str, str], data: bytes) -> Conversion | None:
    """What these attributes do to a file on its checkout; None: nothing.

    said: the value of each of `ATTRIBUTES`, as `git check-attr` tells it.
    data: the file, before or after it.
    """
    words: list[str] = []
    encoding, program = said["working-tree-encoding"], said["filter"]
    if encoding in ("set", "unset"):  # git refuses to check the file out
        words.append("working-tree-encoding" if encoding == "set" else "-working-tree-encoding")
    elif encoding not in ("unspecified", "") and not _UTF8.fullmatch(encoding):
        words.append(f"working-tree-encoding={encoding}")
    if program not in (*_NONE, "lfs"):
        words.append(f"filter={program}")
    if said["ident"] == "set" and KEYWORD.search(data):
        words.append("ident")
    hides = bool(words)
    if program == "lfs":  # its pointers are known, and said to be some
        words.append("filter=lfs")
    # `-text` keeps line ends, but git tells it as it tells `text=unset`, which does not.
    ends_lines = said["eol"] == "crlf" and b"\n" in data and (b"\0" not in data or said["text"] == "set")
    if ends_lines:
        words.append("eol=crlf")
    return Conversion(", ".join(words), hides, ends_lines) if words else None


def committed_form(data: bytes, conversion: Conversion) -> bytes:
    """What git commits of bytes that a checkout would hold; an encoding and a filter are left as they are."""
    data = data.replace(b"\r\n", b"\n") if conversion.ends_lines else data
    return KEYWORD.sub(b"$Id$", data) if "ident" in conversion.words.split(", ") else data


def conversion_problems(found: Mapping[str, Conversion], *, errors: Collection[str] = ()) -> list[Problem]:
    """What to say of files, by path, that a checkout converts. errors: those of which that is an error."""
    hidden = [path for path, each in found.items() if each.hides]
    lines = [path for path, each in found.items() if each.ends_lines and not each.hides]
    problems = []
    for path in hidden:
        message = f"git converts this file on checkout ({found[path].words}): what runs is not what the commit holds"
        hint = "take the attribute out of .gitattributes, and commit the file as it should run"
        severity = Severity.ERROR if path in errors else Severity.WARNING
        problems.append(Problem(_shown(path), 1, 1, "file.converted", message, hint, severity))
    for path in lines[:_MOST_LINE_ENDS]:
        message = f"a checkout of this file has CR LF line ends ({found[path].words}); the commit has LF"
        if path == lines[0] and len(lines) > _MOST_LINE_ENDS:
            message += f"; so have {len(lines) - 1:,} other files"
        hint = f"write into .gitattributes: {_shown(path)} text eol=lf"
        problems.append(Problem(_shown(path), 1, 1, "file.crlf", message, hint, Severity.WARNING))
    return problems


def _shown(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
