"""systemd: timers with their services, from their files or from what `systemctl cat` prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from scheduler.core.imports.brought import Brought, LeftOutError
from scheduler.core.imports.timers import timer_job
from scheduler.core.imports.unitfiles import read_unit
from scheduler.core.values.problems import Problem, UnavailableError
from scheduler.service.imports.source import Reading, Source, SourceFile, gather_each

_PRINTED = re.compile(r"(?m)^# (/\S+)[ \t]*$")
_FOLDERS = ("/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/lib/systemd")
_Units = Mapping[str, tuple[str, ...]]  # the texts of each unit, its drop-ins after it


def _named(path: Path) -> bool:
    """A timer; of the links in timers.target.wants only those to instances, which have no other file."""
    is_link = path.parent.suffix in (".wants", ".requires")
    return path.suffix == ".timer" and (not is_link or "@" in path.stem)


def _tell(file: SourceFile) -> str | None:
    found = re.search(r"(?m)^\[Timer\]\s*$", file.text)
    return None if found is None else f"line {file.text.count(chr(10), 0, found.start()) + 1} is [Timer]"


def _read(reading: Reading, file: SourceFile) -> Iterator[Brought | Problem]:
    printed = _printed(file.text)
    if printed is not None:
        for name in printed:
            if name.endswith(".timer"):
                yield _job(reading, file, name, printed[name], printed)
        return
    name = file.name if file.name.endswith(".timer") else f"{file.path.stem.strip('-') or 'timer'}.timer"
    yield _job(reading, file, name, (file.text, *_drop_ins(file)), None)


def _printed(text: str) -> _Units | None:
    """The units of `systemctl cat`, which names the file of each before it; None if it is one file."""
    marks = [each for each in _PRINTED.finditer(text) if re.search(r"\.(?:timer|service|conf)$", each[1])]
    if not marks or text[: marks[0].start()].strip():
        return None
    found: dict[str, tuple[str, ...]] = {}
    for mark, end in zip(marks, [*(each.start() for each in marks[1:]), len(text)], strict=True):
        path = PurePosixPath(mark[1])
        name = path.parent.name.removesuffix(".d") if path.suffix == ".conf" else path.name
        found[name] = (*found.get(name, ()), text[mark.end() : end])
    return found


def _drop_ins(file: SourceFile) -> list[str]:
    folder = file.path.with_name(f"{file.name}.d")
    try:
        names = sorted(each.name for each in folder.iterdir() if each.suffix == ".conf")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UnavailableError(f"cannot read {file.shown}.d: {error.strerror}") from error
    return [file.beside(f"{folder.name}/{each}").text for each in names]


def _job(
    reading: Reading, file: SourceFile, name: str, texts: tuple[str, ...], printed: _Units | None
) -> Brought | Problem:
    timer = read_unit(*texts)
    stem = name.removesuffix(".timer")
    wanted = timer.last("Timer.Unit") or f"{stem}.service"
    prefix, at, instance = stem.partition("@")
    if at:
        wanted = wanted.replace("%i", instance).replace("%p", prefix)
    try:
        if not any(key.startswith("Timer.") for key in timer.values):
            raise LeftOutError("unit", "it has no [Timer] section", "give the file NAME.timer, or its folder")
        if not wanted.endswith(".service") or "/" in wanted:
            raise LeftOutError("task", f"it starts {wanted}, which is no service")
        if at and not instance:
            hint = f"an instance is a file {prefix}@NAME.timer, or a link of that name in timers.target.wants"
            return file.wrong(1, "unit", f"{stem}: it is a template, and names no instance", hint, error=False)
        service = _service(file, wanted, printed)
        if service is None:
            hint = f"give the folder that holds both, or `systemctl cat {name} {wanted} | scheduler import systemd -`"
            raise LeftOutError("task", f"its service {wanted} is not there", hint)
        return timer_job(stem, timer, wanted, read_unit(*service), path=file.shown, zone=reading.zone)
    except LeftOutError as error:
        line = timer.lines.get("Timer.OnCalendar", 1)
        return file.wrong(line, error.code, f"{stem}: {error.message}; it was left out", error.hint)


def _service(file: SourceFile, name: str, printed: _Units | None) -> tuple[str, ...] | None:
    """The texts of a service: the unit itself, or the template that it is an instance of; its drop-ins."""
    template = re.sub("@[^.]+", "@", name)
    if printed is not None:
        return printed.get(name) or printed.get(template)
    folder = file.path.absolute().parent
    here = str(folder.parent if folder.suffix else folder)
    owner = here.rpartition("/")[2]  # system or user
    others = [f"{each}/{owner}" for each in _FOLDERS] if here.startswith(_FOLDERS) else []
    for each in dict.fromkeys((name, template)):
        for place in ("", *(["../"] if folder.suffix else []), *(f"{other}/" for other in others)):
            found = file.beside(f"{place}{each}")
            if found.there:
                try:
                    return (found.text, *_drop_ins(found))
                except UnavailableError as error:
                    raise LeftOutError("task", str(error), "make it readable, or import from a copy") from None
    return None


SOURCE = Source(
    word="systemd",
    called="systemd",
    stop="disable its timers (`systemctl disable --now NAME.timer`)",
    named=_named,
    tell=_tell,
    gather=gather_each(_read),
)
