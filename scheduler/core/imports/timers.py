"""A timer of systemd with its service, as a job."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from scheduler.core.imports.brought import Brought, LeftOutError, Lost
from scheduler.core.imports.incoming import Decider, Work, every_from, whole_seconds
from scheduler.core.imports.oncalendar import calendar_entries
from scheduler.core.imports.unitfiles import Unit, commands, span, words_of
from scheduler.core.values.texts import InputError, counted
from scheduler.core.values.units import format_duration

_ONCE = ("OnBootSec", "OnStartupSec", "OnActiveSec", "OnClockChange", "OnTimezoneChange")
# What means nothing here, or follows from what is carried.
_DROPPED = frozenset({
    "Timer.OnCalendar", "Timer.OnUnitActiveSec", "Timer.OnUnitInactiveSec", "Timer.Persistent", "Timer.Unit",
    "Timer.RandomizedDelaySec", "Unit.Description", "Install.WantedBy", "Install.Also", "Service.Type",
    "Service.ExecStart", "Service.ExecCondition", "Service.Environment", "Service.WorkingDirectory",
    "Service.RemainAfterExit",
})  # fmt: skip
_AS = "jobs here run as the user of the scheduler"
_BESIDE = "write it in the script of the job"
_INSTEAD = {
    "Timer.AccuracySec": "a job here starts at its time; `jitter` spreads the starts",
    "Service.User": _AS,
    "Service.Group": _AS,
    "Service.EnvironmentFile": "set the variables where the daemon is started, and name them in env_from of the runner",
    "Service.PassEnvironment": "name them in env_from of the runner",
    "Service.ExecStartPre": _BESIDE,
    "Service.ExecStartPost": _BESIDE,
    "Service.ExecStopPost": _BESIDE,
    "Service.Restart": "write `retry` in the job's file",
    "Unit.OnFailure": "write `deliver` in the job's file",
    **dict.fromkeys(
        ("Timer.OnBootSec", "Timer.OnStartupSec", "Timer.OnActiveSec"), "no job here starts with a machine"
    ),
}
PERSISTENT = timedelta(days=365)  # how late a slot of a persistent timer may be made up for


def timer_job(name: str, timer: Unit, service_name: str, service: Unit, *, path: str, zone: str) -> Brought:
    """The job of NAME.timer. Raises: LeftOutError."""
    try:
        entries, notes = _entries(timer, zone)
        specifiers = _specifiers(service_name)
        prefixes, task = _task(service, specifiers)
        conditions = _conditions(service, specifiers)
        environment = _environment(service, specifiers)
        jitter = span(timer.last("Timer.RandomizedDelaySec") or "0")
        workdir, missing = _workdir(service, specifiers, home="systemd/user" in path)
        limit = _limit(service)
    except InputError as error:
        raise LeftOutError("unit", error.message, error.hint) from None
    lost = [*_lost(timer), *_lost(service)]
    lost += [Lost(name="ExecStart prefix", value=each, instead=_AS) for each in prefixes]
    users = [f"{each}={value}" for each in ("User", "Group") if (value := service.last(f"Service.{each}"))]
    catch_up = {"policy": "latest", "within": format_duration(PERSISTENT)} if timer.flag("Timer.Persistent") else "none"
    return Brought(
        path=path,
        line=timer.lines.get("Timer.OnCalendar", 1),
        id=name,
        description=service.last("Unit.Description") or timer.last("Unit.Description") or "",
        schedule=entries,
        jitter=jitter or None,
        work=Work.COMMANDS,
        task="\n".join([*missing, task]),
        check=Decider(text="\n".join([*missing, *conditions])) if conditions else None,
        check_called="ExecCondition",
        keys={
            "catch_up": catch_up if timer.all("Timer.OnCalendar") else None,
            "timeout": None if limit is None else whole_seconds(limit),
        },
        workdir=workdir,
        env=environment,
        comments=(f"systemd ran it with {' and '.join(users)}",) if users else (),
        notes=notes,
        lost=tuple(each for n, each in enumerate(lost) if each not in lost[:n]),
    )


def _entries(timer: Unit, zone: str) -> tuple[tuple[Mapping[str, str], ...], tuple[tuple[str, str, str], ...]]:
    found: list[Mapping[str, str]] = []
    notes: list[tuple[str, str, str]] = []
    for event in timer.all("Timer.OnCalendar"):
        try:
            found += calendar_entries(event, zone=zone)
        except InputError as error:
            raise LeftOutError("schedule", f"OnCalendar={error.message}", error.hint) from None
    for key in ("OnUnitActiveSec", "OnUnitInactiveSec"):
        every = span(timer.last(f"Timer.{key}") or "0")
        if every:
            if every % timedelta(seconds=1):
                raise InputError(f"{key}={timer.last(f'Timer.{key}')} is not a whole number of seconds")
            found.append(every_from(every, None))
            since = "since it last started" if key == "OnUnitActiveSec" else "since it last ended"
            why = f"{key} counts {since}; here, it fires at whole multiples of {format_duration(every)}"
            notes.append(("schedule", why, "`phase` shifts them"))
    if not found:
        once = [each for each in _ONCE if timer.all(f"Timer.{each}")]
        why = f"it has only {' and '.join(once)}, and no job here starts with a machine" if once else "it has no time"
        raise LeftOutError("reboot" if once else "schedule", why, "leave it to systemd" if once else "")
    return tuple(each for n, each in enumerate(found) if each not in found[:n]), tuple(notes)


def _specifiers(name: str) -> Mapping[str, str]:
    whole = name.removesuffix(".service")
    prefix, _, instance = whole.partition("@")
    return {"n": name, "N": whole, "p": prefix, "i": instance, "h": "${HOME}"}


def _task(service: Unit, specifiers: Mapping[str, str]) -> tuple[list[str], str]:
    """The prefixes that have no place here, and the commands as lines of a script."""
    lines: list[str] = []
    prefixes: list[str] = []
    for each in service.all("Service.ExecStart"):
        for command, prefix in commands(each, specifiers):
            lines.append(f"{command} || true" if "-" in prefix else command)
            prefixes += [mark for mark in re.findall(r"[+@|]|!!?", prefix) if mark not in prefixes]
    if not lines:
        raise LeftOutError("task", "its service has no ExecStart")
    if len(lines) > 1:
        lines.insert(0, "set -e")
    return prefixes, "\n".join(lines)


def _conditions(service: Unit, specifiers: Mapping[str, str]) -> list[str]:
    """The lines of a check. As for systemd, 255 is a failure and any other code but 0 says that there is no run."""
    found = [each for text in service.all("Service.ExecCondition") for each in commands(text, specifiers)]
    no_run = "{ test $? -ne 255 || exit 1; exit 10; }"
    return [f"{command} || {'true' if '-' in prefix else no_run}" for command, prefix in found]


def _environment(service: Unit, specifiers: Mapping[str, str]) -> Mapping[str, str]:
    plain = {key: value for key, value in specifiers.items() if key != "h"}
    pairs = [word.partition("=") for each in service.all("Service.Environment") for word in words_of(each, plain)]
    return {name: value for name, equals, value in pairs if equals}


def _workdir(service: Unit, specifiers: Mapping[str, str], *, home: bool) -> tuple[str | None, list[str]]:
    """The folder; or the line that enters one that is not written, or may be missing. home: of a user's service."""
    found = service.last("Service.WorkingDirectory")
    if found is None:
        return None, ["cd  # where systemd starts a service of a user" if home else "cd /  # where systemd starts it"]
    (folder,) = words_of(f'"{found.lstrip("-")}"', {**specifiers, "h": "~"}) or ("/",)
    if found.startswith("-"):
        line = next(commands(f'cd "{folder}"', specifiers))[0] if folder != "~" else "cd"
        return None, [f"{line} || true"]
    return folder, []


def _limit(service: Unit) -> timedelta | None:
    oneshot = (service.last("Service.Type") or "simple") == "oneshot"
    names = ("TimeoutStartSec", "TimeoutSec", "RuntimeMaxSec") if oneshot else ("RuntimeMaxSec",)
    limits = [span(text) for each in names if (text := service.last(f"Service.{each}"))]
    known = [each for each in limits if each]
    return min(known) if known else None


def _lost(unit: Unit) -> Iterator[Lost]:
    carried = {"Service.RuntimeMaxSec"}
    if unit.last("Service.Type") == "oneshot":
        carried |= {"Service.TimeoutStartSec", "Service.TimeoutSec"}
    for key, values in unit.values.items():
        if key in _DROPPED or key in carried:
            continue
        value: Any = values[0] if len(values) == 1 else counted(len(values), "line")
        yield Lost(name=key.partition(".")[2], value=value, instead=_INSTEAD.get(key, ""))
