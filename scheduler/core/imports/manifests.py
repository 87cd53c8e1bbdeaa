"""What the manifests of Kubernetes mean: lists, schedules, and the variables and command of a container."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from scheduler.core.formats.yamlfile import read_yaml
from scheduler.core.imports.brought import LeftOutError, Lost, Note
from scheduler.core.imports.commands import SHELLS
from scheduler.core.imports.incoming import either_day, every_from
from scheduler.core.imports.records import Record, json_items, json_value
from scheduler.core.imports.secrets import quoted
from scheduler.core.imports.unitfiles import double_quoted
from scheduler.core.values.texts import InputError, TextError
from scheduler.core.values.units import format_duration

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")
_GO = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}
_MACROS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_MOST_VALUES = 2_000_000
_SET = "set it where the daemon is started, and name it in env_from of the runner"


def objects(text: str) -> Iterator[tuple[int, dict[str, Any] | TextError]]:
    """The objects of a file, each with its line, and those of each list in it; what makes one unreadable.

    Raises: TextError if nothing can be read.
    """
    if text.lstrip().startswith("{"):
        whole = json_value(text)
        listed = isinstance(whole.get("items"), list)
        for line, each in json_items(text, "items") if listed else [(1, whole)]:
            if isinstance(each, dict):
                yield line, _of_list(each) if listed else each
        return
    for document in read_yaml(text, most=_MOST_VALUES):
        data, line = document.data, document.start[0]
        if not isinstance(data, dict) or (data.get("kind") != "CronJob" and "items" not in data):
            continue
        if document.flaws:
            flaw = document.flaws[0]
            place = document.lines.place(flaw.index)
            why = f"{flaw.message}; the whole document was left out"
            yield line, TextError("yaml", why, line=place[0], column=place[1], hint=flaw.hint)
        elif isinstance(data.get("items"), list):
            for number, each in enumerate(data["items"]):
                if isinstance(each, dict):
                    yield document.place(("items", number))[0], _of_list(each)
        else:
            yield line, data


def _of_list(item: dict[str, Any]) -> dict[str, Any]:
    """An item of a CronJobList, which may leave out what the list says."""
    return {"kind": "CronJob", "apiVersion": "batch/v1", **item}


def entry_of(spec: Record, since: datetime | None) -> tuple[Mapping[str, str], tuple[Note, ...]]:
    """The schedule of a CronJob as an entry of a job file, and what is to be said about it. Raises: InputError.

    since: when it was made or last ran, from which `@every` counts.
    """
    text, zone, notes = spec.text("schedule") or "", spec.text("timeZone"), list[Note]()
    shown = f"its schedule is {quoted(text)}"
    if found := re.match(r"(CRON_TZ|TZ)=(\S+)(?:\s+|$)", text):
        name, text = found[1], text[found.end() :]
        if zone is not None:
            hint = f"write `timeZone: {found[2]}` or `timeZone: {zone}`, and the schedule without {name}="
            raise InputError(f"{shown}, and its timeZone {quoted(zone)}; Kubernetes takes one of them", hint=hint)
        zone = found[2]
        why = f"{shown}; Kubernetes takes no new CronJob with {name}=, and the zone counts here"
        notes.append(("schedule", why, f"there, write `timeZone: {zone}`, and the schedule without it"))
    if text.startswith("@every "):
        every = go_duration(text[7:].strip())
        if since is None:
            whole = format_duration(every)
            why = f"{shown}, which counts from its creation; here, it fires at whole multiples of {whole}"
            notes.append(("schedule", why, "import the list of `kubectl get`, or shift them with `phase`"))
        return every_from(every, since), tuple(notes)
    fields = text.split()
    if len(fields) != 5 and text.strip() not in _MACROS:
        hint = "write minute, hour, day of month, month and day of week, such as '0 5 * * *'"
        if len(fields) == 6:
            hint = f"without the first field, which may have been meant as seconds: {quoted(' '.join(fields[1:]))}"
        why = f"{shown}; Kubernetes takes five fields, {', '.join(_MACROS)} and @every DURATION"
        raise InputError(why, hint=hint)
    # `*/1` is any day to Kubernetes, as `*` is.
    cron = either_day([re.sub(r"^[*?]/1$|^\?(?=$|/)", "*", each) for each in fields])
    return {"cron": cron, **({} if zone is None else {"timezone": zone})}, tuple(notes)


@dataclass(slots=True)
class Env:
    """The variables of a container: those whose values are written, and those whose values are elsewhere."""

    values: dict[str, str] = field(default_factory=dict)
    elsewhere: set[str] = field(default_factory=set)
    lost: list[Lost] = field(default_factory=list)

    @property
    def known(self) -> Collection[str]:
        return {*self.values, *self.elsewhere}


def env_of(variables: Sequence[Record]) -> Env:
    """A value that refers to one of a Secret, a ConfigMap or the pod is never guessed."""
    env = Env()
    for each in variables:
        name, value = each.text("name"), each.text("value") or ""
        if name is None:
            continue
        each.drop("value")
        source = each.record("valueFrom")
        if source is not None:
            env.elsewhere.add(name)
            env.lost.append(Lost(name=f"env {name}", value=_place(source), instead=_SET))
            continue
        inner = {found[1] for found in _REFERENCE.finditer(value) if found[1]}
        if inner & env.elsewhere:
            env.elsewhere.add(name)
            env.lost.append(Lost(name=f"env {name}", value=f"made of {', '.join(sorted(inner))}", instead=_SET))
            continue
        env.values[name] = _REFERENCE.sub(lambda found: _value(found, env.values), value)
    return env


def _value(found: re.Match[str], values: Mapping[str, str]) -> str:
    return "$" if found[1] is None else values.get(found[1], found[0])


def _place(source: Record) -> str:
    """Where the value of a variable is kept, in words."""
    for kind, called in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if (key := source.record(kind)) is not None:
            key.drop("optional")
            return f"key {key.text('key')} of {called} {key.text('name')}"
    for kind, name in (("fieldRef", "fieldPath"), ("resourceFieldRef", "resource")):
        if (place := source.record(kind)) is not None:
            place.drop("apiVersion", "containerName", "divisor")
            return f"{place.text(name)} of the pod"
    return "elsewhere"


def argument(text: str, known: Collection[str]) -> str:
    """A word of a command for a POSIX shell: `$(NAME)` of a known variable is its value, and `$$` is one dollar."""
    parts, at, replaced = [], 0, False
    for found in _REFERENCE.finditer(text):
        parts.append(double_quoted(text[at : found.start()]))
        at = found.end()
        if found[1] is None:
            parts.append(r"\$")
        elif found[1] in known and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", found[1]):
            parts.append(f"${{{found[1]}-}}")
            replaced = True
        else:
            parts.append(double_quoted(found[0]))
    inner = "".join([*parts, double_quoted(text[at:])])
    return f'"{inner}"' if replaced else shlex.quote(re.sub(r"\\([\\\"$`])", r"\1", inner))


def task_of(container: Record, env: Env) -> tuple[str, str]:
    """The commands of a container, and the shell that ran them as a text, if one did. Raises: LeftOutError."""
    if not container.has("command"):
        image = container.text("image")
        raise LeftOutError("task", f"it runs what its image {image} starts", "write `command` in the manifest")
    argv = [*container.texts("command"), *container.texts("args")]
    is_text = argv[1:2] == ["-c"] and len(argv) == 3 and posixpath.basename(argv[0]) in SHELLS
    if is_text and argument(argv[2], env.known) == shlex.quote(argv[2]):
        return argv[2], argv[0]
    return " ".join(argument(each, env.known) for each in argv), ""


def go_duration(text: str) -> timedelta:
    """`1h30m0s`, in whole seconds. Raises: InputError."""
    if re.fullmatch(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:ms|h|m|s))+", text) is None:
        raise InputError(f"{quoted('@every ' + text)} is not a duration, such as 1h30m")
    parts = re.findall(r"([0-9.]+)(ms|h|m|s)", text)
    total = timedelta(seconds=max(sum(float(number) * _GO[unit] for number, unit in parts), 1))
    return total - total % timedelta(seconds=1)
