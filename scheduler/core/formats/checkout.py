"""How git attributes change a file on checkout (gitattributes(5)), so that what runs can differ from the commit."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scheduler.core.values.problems import Problem, Severity

ATTRIBUTES = ("text", "crlf", "eol", "ident", "filter", "working-tree-encoding")
KEYWORD = re.compile(rb"\$Id(?::[^$\n]*)?\$")
_NONE = ("unspecified", "unset", "set", "")  # values of `filter` that name no filter
_MOST_LINE_ENDS = 20  # problems: whole repositories can be affected
_UTF8 = re.compile("utf-?8", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Conversion:
    """The attributes because of which a checkout differs from the commit."""

    words: str  # as in .gitattributes, such as filter=x
    hides: bool = False  # the commit does not show what runs
    ends_lines: bool = False  # CRLF in the checkout, LF in the commit


def find_conversion(said: Mapping[str, str], data: bytes) -> Conversion | None:
    """The effect of these attributes on the checkout of a file, or None if there is none.

    said: the value of each of `ATTRIBUTES`, as `git check-attr` prints it.
    data: the file, before or after the checkout.
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
    if program == "lfs":  # its pointers are recognisable, and reported as such
        words.append("filter=lfs")
    # `-text` keeps line ends, but git reports it like `text=unset`, which does not.
    ends_lines = said["eol"] == "crlf" and b"\n" in data and (b"\0" not in data or said["text"] == "set")
    if ends_lines:
        words.append("eol=crlf")
    return Conversion(", ".join(words), hides, ends_lines) if words else None


def committed_form(data: bytes, conversion: Conversion) -> bytes:
    """The bytes that git commits for a file in a checkout. An encoding and a filter are not reversed."""
    data = data.replace(b"\r\n", b"\n") if conversion.ends_lines else data
    return KEYWORD.sub(b"$Id$", data) if "ident" in conversion.words.split(", ") else data


def conversion_problems(found: Mapping[str, Conversion], *, errors: Collection[str] = ()) -> list[Problem]:
    """The problems of files, by path, that a checkout converts. errors: the paths for which it is an error."""
    hidden = [path for path, each in found.items() if each.hides]
    lines = [path for path, each in found.items() if each.ends_lines and not each.hides]
    problems = []
    for path in hidden:
        words = found[path].words
        message = f"git converts this file on checkout ({words}), so the text that runs differs from the committed text"
        hint = "remove the attribute from .gitattributes, and commit the file as it should run"
        severity = Severity.ERROR if path in errors else Severity.WARNING
        problems.append(Problem(_shown(path), 1, 1, "file.converted", message, hint, severity))
    for path in lines[:_MOST_LINE_ENDS]:
        message = f"git checks this file out with CR LF line endings ({found[path].words}); the commit has LF"
        if path == lines[0] and len(lines) > _MOST_LINE_ENDS:
            message += f"; the same is true of {len(lines) - 1:,} more files"
        hint = f"add to .gitattributes: {_shown(path)} text eol=lf"
        problems.append(Problem(_shown(path), 1, 1, "file.crlf", message, hint, Severity.WARNING))
    return problems


def _shown(path: str) -> str:
    return path.encode("utf-8", "replace").decode()
