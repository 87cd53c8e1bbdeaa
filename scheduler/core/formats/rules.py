"""The rules for the value of each key."""

from __future__ import annotations

import json
import re
import shlex
import warnings
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from pydantic import ValidationInfo
from pydantic_core import PydanticCustomError

from scheduler.core.formats.globs import TAG
from scheduler.core.formats.paths import PathError, check_glob, check_path
from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.dialects import same_schedule
from scheduler.core.times.fires import zone_of
from scheduler.core.times.valid import MOST_ENTRIES, check_cron
from scheduler.core.values import units
from scheduler.core.values.instants import parse_instant
from scheduler.core.values.problems import did_you_mean
from scheduler.core.values.settings import ARGS, MODEL
from scheduler.core.values.spec import MANUAL, NONEMPTY
from scheduler.core.values.texts import short

ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,127}$"
ENV_PATTERN = r"^[A-Za-z_][A-Za-z0-9_]*$"
OWN_ENV_PATTERN = r"^(?!SCHEDULER_)[A-Za-z_][A-Za-z0-9_]*$"
LINE_PATTERN = r"^.*\S.*\n?$"
NOT_BLANK_PATTERN = r"\S"
INSTANT_PATTERN = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})$"
)
RUNNER_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
CURRENCY_PATTERN = r"^[A-Z]{3}$"
DAY_PATTERN = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"
MOST_PRICE = 100_000  # of a million tokens
# A command may hand the name to a shell: nothing in it means anything there, and it is no option.
MODEL_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+~\[\]-]{0,199}$"
MODELS_PATTERN = r"^[A-Za-z0-9*?\[][A-Za-z0-9._:/@+~\[\]!*?-]{0,199}$"
OPTION_PATTERN = r"^--?[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
ARGUMENT_PATTERN = r"^[^\u0000]+$"
MOST_ARGUMENTS, LONGEST_ARGUMENT = 100, 1000
FOLDER_PATTERN = r"^(?!\./?$)(?!~[^/])(?!\s)(?!.*\s$)(?!(\.\./)*(?!\.\.(/|$)).*/\.\.(/|$))[^\u0000-\u001f\u007f]+$"
RESULT_PATTERN = f"^({NONEMPTY}|/.+/)$"
MOST_SPENT = 1_000_000
SPENT_DIGITS = 6  # decimals of an amount of a budget
JOBS_PATTERN = r"^(tag:.*\S.*|[a-z0-9._*?\[\]!-]{1,200})$"


def _refuse(code: str, message: str, hint: str = "", offset: int = 0) -> PydanticCustomError:
    return PydanticCustomError(code, "{message}", {"message": message, "hint": hint, "offset": offset})


def one_line(text: str) -> str:
    if not text.strip():
        raise _refuse("value.empty", "the text is blank", "write something, or delete the key")
    if len(text.splitlines()) > 1:
        raise _refuse("value.invalid", "the text has more than one line", "keep it on one line")
    return text


def job_id(text: str) -> str:
    if re.fullmatch(ID_PATTERN[1:-1], text):
        return text
    near = re.sub(r"[^a-z0-9._-]+", "-", text.lower())[:200].strip("._-")[:128]
    message = f"id {short(text)} is not valid; allowed: 1-128 of a-z 0-9 . _ -, starting with a letter or digit"
    raise _refuse("id.invalid", message, f"write {near}" if near else "")


def env_name(name: str) -> str:
    if not re.fullmatch(ENV_PATTERN[1:-1], name):
        message = f"{short(name)} is not a variable name; allowed: letters, digits and _, not starting with a digit"
        raise _refuse("env.name", message, _env_hint(name[:100]))
    return name


def _env_hint(name: str) -> str:
    before, equals, _ = name.partition("=")
    if equals and re.fullmatch(ENV_PATTERN[1:-1], before):
        return f"a name cannot contain =; in env write {before}: value"
    near = re.sub(r"[^A-Za-z0-9_]", "_", name)
    near = f"_{near}" if near[:1].isdecimal() else near
    return f"write {near}" if near.strip("_") else ""


def own_env_name(name: str) -> str:
    env_name(name)
    if name.startswith("SCHEDULER_"):
        message = f"variable {short(name)} is reserved: the scheduler sets SCHEDULER_* itself"
        raise _refuse("env.reserved", message, "choose another name")
    return name


def duration_value(value: Any) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = str(value)
        hint = units.with_units(number) or "write one like 90s, 20m, 2h or 1h30m"
        raise _refuse("duration.invalid", f"duration {short(number)[1:-1]} has no unit", hint)
    if not isinstance(value, str):
        raise _refuse(
            "value.type", f"a duration must be text, not {shown(value)}", "write one like 90s, 20m, 2h or 1h30m"
        )
    try:
        return units.parse_duration(value)
    except units.UnitError as error:
        raise _refuse(f"duration.{error.code}", error.message, error.hint) from None


_DURATION = units.DURATION_PATTERN[1:-1]


def phase_duration(value: Any) -> timedelta:
    if isinstance(value, str) and re.fullmatch(r"0[dhms]", value):
        return timedelta()
    return duration_value(value)


def size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _refuse(
            "value.type",
            f"a size must be text or a number of bytes, not {shown(value)}",
            "write one like 256KiB or 10MiB",
        )
    try:
        return units.parse_size(value)
    except units.UnitError as error:
        raise _refuse(f"size.{error.code}", error.message, error.hint) from None


def amount(value: Any) -> Decimal:
    """A price. A fraction counts as it is written, not as the nearest binary one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        near = value.strip("$€£ ") if isinstance(value, str) else ""
        hint = f"write {near}" if re.fullmatch(r"[0-9]{1,5}(\.[0-9]{1,9})?", near) else "write one like 1.25"
        raise _refuse("value.type", f"a price must be a number, not {shown(value)}", hint)
    if not 0 <= value <= MOST_PRICE:
        message = f"the price {short(str(value))[1:-1]} is outside 0-{MOST_PRICE}"
        raise _refuse("value.range", message, "write the price of a million tokens")
    return Decimal(str(value))


def spending(value: Any) -> Decimal:
    """An amount of a budget. It counts as it is written: the digits allowed fit a float exactly."""
    example = "write one like 2.50"
    if isinstance(value, bool) or not isinstance(value, int | float):
        near = re.sub(r"[$€£ ]|[A-Z]{3}", "", value) if isinstance(value, str) else ""
        told = f"write {near}" if re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", near) else example
        message = f"an amount must be a number, not {shown(value)}"
        raise _refuse("value.type", message, f"{told}; scheduler.yaml names the currency")
    if not 0 <= value <= MOST_SPENT:
        raise _refuse("value.range", f"the amount {short(str(value))[1:-1]} is outside 0-{MOST_SPENT:,}", example)
    found = Decimal(str(value))
    if found != round(found, SPENT_DIGITS):
        message = f"the amount {short(str(value))[1:-1]} has more than {SPENT_DIGITS} decimals"
        raise _refuse("value.range", message, f"write {max(round(found, SPENT_DIGITS), Decimal('0.000001')):f}")
    return found


def limit(value: Any) -> Decimal:
    """An amount that limits what may be spent in a day or a month."""
    found = spending(value)
    if not found:
        raise _refuse("value.range", "with 0, no run would ever start", "write an amount, or enabled: false")
    return found


def currency(text: str) -> str:
    if not re.fullmatch(CURRENCY_PATTERN[1:-1], text):
        near = {"$": "USD", "€": "EUR", "£": "GBP"}.get(text, text.upper())
        hint = f"write {near}" if re.fullmatch(CURRENCY_PATTERN[1:-1], near) else "write one like USD or EUR"
        raise _refuse("value.invalid", f"currency {short(text)} is not a code of three capital letters", hint)
    return text


def day(text: str) -> str:
    try:
        if re.fullmatch(DAY_PATTERN[1:-1], text):
            return date.fromisoformat(text).isoformat()
    except ValueError:
        pass
    raise _refuse("value.invalid", f"{short(text)} is not a day", "write one like 2026-12-01")


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(?P<offset>Z|[+-]\d\d:\d\d)?", re.ASCII)
NO_OFFSET = "has no UTC offset"
_INSTANT_EXAMPLE = "write one like 2027-01-31T09:00:00+01:00, or ...T08:00:00Z for UTC"
_INSTANT_CODES = {
    "at": "schedule.at",
    "starts": "schedule.starts",
    "ends": "schedule.ends",
    "expires": "expires.invalid",
}


def instant_value(value: Any, info: ValidationInfo) -> datetime:
    if not isinstance(value, str):
        raise _refuse("value.type", f"an instant must be text, not {shown(value)}", _INSTANT_EXAMPLE)
    code = _INSTANT_CODES[info.field_name or "at"]
    found = _INSTANT.fullmatch(value)
    if found is None:
        raise _refuse(code, f"{short(value)} is not an instant", _INSTANT_EXAMPLE)
    if found["offset"] is None:
        message = f"instant {short(value)} {NO_OFFSET}"
        raise _refuse(code, message, f"write {value}Z for UTC, or the offset of your zone instead of Z")
    try:
        return parse_instant(value)
    except (ValueError, OverflowError):
        raise _refuse(code, f"{short(value)} does not exist in the calendar", _INSTANT_EXAMPLE) from None


def with_offset(value: str, zone: str) -> str | None:
    """A local time with the offset of its zone, or None if the zone is unknown, or skips or repeats that time."""
    try:
        wall = datetime.fromisoformat(value).replace(tzinfo=zone_of(zone))
        if wall.utcoffset() != wall.replace(fold=1).utcoffset():
            return None
    except (ScheduleError, ValueError, OverflowError):
        return None
    return wall.isoformat(timespec="auto" if wall.microsecond else "seconds")


_LONGEST_CRON = 500  # longer than any useful one, and short enough to check quickly


def cron_text(text: str) -> str:
    if len(text) > _LONGEST_CRON:
        raise _refuse("schedule.cron", f"cron has {len(text)} characters; the maximum is {_LONGEST_CRON}")
    try:
        check_cron(text)
    except ScheduleError as error:
        hint = error.hint
        if text.strip().lower() == MANUAL:
            hint = "for a job that only runs by hand, write only schedule: manual"
        elif re.fullmatch(_DURATION, text):
            hint = f"for an interval, write schedule: {{every: {text}}}"
        elif _INSTANT.fullmatch(text):
            hint = f'for a single run, write schedule: {{at: "{text}"}}'
        elif found := same_schedule(text):
            hint = f"write schedule: {found}, which means the same"
        elif text.strip().lower() in ("@once", "once"):
            hint = 'for a single run, write schedule: {at: "2027-01-31T09:00:00+01:00"}, with your time'
        raise _refuse(error.code, error.message, hint, error.offset or 0) from None
    return text


def zone_name(text: str) -> str:
    try:
        zone_of(text)
    except ScheduleError as error:
        raise _refuse(error.code, error.message, error.hint, error.offset or 0) from None
    return text


def shorthand(value: Any) -> Any:
    if isinstance(value, str):
        return {"cron": value}
    return value


def entries(value: Any) -> Any:
    if isinstance(value, list) and not 1 <= len(value) <= MOST_ENTRIES:
        hint = "spread them over several jobs" if value else 'write for example [{cron: "0 9 * * *"}]'
        raise _refuse("schedule.entries", f"schedule has {len(value)} entries; allowed: 1-{MOST_ENTRIES}", hint)
    return value


ONE, MANY, BY_HAND = (
    "<one>",
    "<many>",
    "<manual>",
)  # how a schedule is written; pydantic puts it into the path of a fault


def one_or_many(value: Any) -> str:
    if value == MANUAL:
        return BY_HAND
    return MANY if isinstance(value, list) else ONE


def catch_up_policy(value: Any) -> Any:
    return {"policy": value} if isinstance(value, str) else value


def task_path(text: str, info: ValidationInfo) -> str:
    try:
        check_path(text, folder=(info.context or {}).get("folder", ""), what="task_source_path")
    except PathError as error:
        raise _refuse("task.path", error.message, error.hint) from None
    return text


def inline_task(text: str) -> str:
    if not text.strip():
        raise _refuse("task.empty", "the task is blank", "write the task, or name its file with task_source_path")
    return text


_LONGEST_PATTERN = 500


def expected_result(text: str) -> str:
    if text == NONEMPTY:
        return text
    if not re.fullmatch(RESULT_PATTERN[1:-1], text, re.DOTALL):
        near = f"/{text.strip('/')}/"
        hint = f"write {NONEMPTY}, or a regular expression between slashes" + (f", such as {near}" if text else "")
        raise _refuse("expect.result", f"{short(text)} is not {NONEMPTY} or a regular expression", hint)
    if len(text) > _LONGEST_PATTERN:
        message = f"the regular expression has {len(text)} characters; the maximum is {_LONGEST_PATTERN}"
        raise _refuse("expect.result", message)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read differently
            re.compile(text[1:-1])
    except (re.error, RecursionError, OverflowError) as error:
        why = error.msg if isinstance(error, re.error) else "it is too complex"
        offset = 1 + (error.pos or 0) if isinstance(error, re.error) else 0
        raise _refuse("expect.result", f"the regular expression is not valid: {why}", offset=offset) from None
    return text


def expected_file(text: str, info: ValidationInfo) -> str:
    try:
        check_path(text, folder=(info.context or {}).get("folder", ""), what="expect.file")
    except PathError as error:
        raise _refuse("expect.file", error.message, error.hint) from None
    return text


def glob(text: str) -> str:
    try:
        check_glob(text)
    except PathError as error:
        raise _refuse("glob.invalid", error.message, error.hint) from None
    return text


def job_pattern(text: str) -> str:
    if re.fullmatch(JOBS_PATTERN[1:-1], text):
        return text
    if text.strip().lower().startswith(TAG):
        hint = f"write {TAG}agent" if not text.strip()[len(TAG) :].strip() else f"write {TAG} in front, in lower case"
        raise _refuse("runner.jobs", f"pattern {short(text)} is not {TAG} and a glob of a tag", hint)
    near = text.strip().lower()
    right = re.fullmatch(JOBS_PATTERN[1:-1], near)
    message = f"no id can match {short(text)}; allowed: a-z 0-9 . _ - and the wildcards * ? [...]"
    hint = f"write {short(near)}" if right else f"for the jobs with a tag, write {TAG}agent"
    raise _refuse("runner.jobs", message, hint)


def model_name(text: str) -> str:
    if not re.fullmatch(MODEL_PATTERN[1:-1], text):
        near = text.strip()
        message = f"model {short(text)} is not valid; allowed: 1-200 of A-Z a-z 0-9 . _ : / @ + ~ [ ] -"
        raise _refuse("model.invalid", message, f"write {near}" if re.fullmatch(MODEL_PATTERN[1:-1], near) else "")
    return text


def model_glob(text: str) -> str:
    if not re.fullmatch(MODELS_PATTERN[1:-1], text):
        message = f"no model can match {short(text)}; allowed: A-Z a-z 0-9 . _ : / @ + ~ - and the wildcards * ? [...]"
        raise _refuse("model.invalid", message)
    return text


def argument(text: str) -> str:
    if not text:
        raise _refuse("args.invalid", "the argument is empty", "write a word, or delete it")
    if "\0" in text or len(text) > LONGEST_ARGUMENT:
        what = (
            "contains a NUL" if "\0" in text else f"has {len(text):,} characters; the maximum is {LONGEST_ARGUMENT:,}"
        )
        raise _refuse("args.invalid", f"the argument {short(text)} {what}", "long texts belong in the task")
    return text


def option(name: str) -> str:
    if not re.fullmatch(OPTION_PATTERN[1:-1], name):
        near = f"--{name.strip('- ').partition('=')[0]}"
        message = f"{short(name)} is not an option; allowed: one or two dashes, then letters, digits and . _ -"
        raise _refuse("runner.job-args", message, f"write {near}" if re.fullmatch(OPTION_PATTERN[1:-1], near) else "")
    return name


def expression(text: str) -> str:
    try:
        re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        hint = "write one that the whole value matches, such as '[0-9]{1,3}'"
        raise _refuse("runner.job-args", f"{short(text)} is not a regular expression: {error}", hint) from None
    if not text.strip():
        raise _refuse("value.empty", "the expression is blank", "write null for an option without a value")
    return text


def folder(text: str) -> str:
    """A folder of `workdir` or `workdirs`: absolute, ~/..., ../..., or relative to the root; `root` and `fresh`."""
    if re.fullmatch(FOLDER_PATTERN[1:-1], text) and text.isprintable():
        return text
    hint = "write it like src/site, ../site, ~/src/site or /srv/site"
    if text in (".", "./"):
        what, hint = "is not allowed; the folder of scheduler.yaml is called root", "write root"
    elif re.match("~[^/]", text):
        what, hint = "names the home of another user", "write its absolute path"
    elif ".." in text.split("/"):
        what, hint = "has .. after a name", "write the folder that it leads to"
    else:
        what = "is empty, begins or ends with a space, or contains a control character"
    raise _refuse("workdir.invalid", f"folder {short(text)} {what}", hint)


def given(value: Any) -> Any:
    """For keys that restrict: a key left empty by mistake must not count as no restriction."""
    if value is None:
        raise _refuse("value.missing", "the key has no value", "write one, or delete the key")
    return value


def not_empty(items: list[str]) -> list[str]:
    if not items:
        raise _refuse(
            "value.empty", "the list is empty, so nothing can match", "list at least one item, or delete the key"
        )
    return items


def format_version(value: Any) -> Any:
    if type(value) is not int or value != 1:
        written = short(str(value))[1:-1] if isinstance(value, int | float) and value is not True else shown(value)
        raise _refuse("version.unknown", f"version {written} is not supported; allowed: 1", "write version: 1")
    return value


def shell_line(value: Any) -> Any:
    if isinstance(value, str):
        try:
            words = shlex.split(value) if len(value) <= 200 else []
        except ValueError:
            words = []
        hint = f"write command: {flow_list(words)}" if words else "write a list of words, the program first"
        raise _refuse("runner.command", "a command must be a list of words, not a shell line", hint)
    return value


_BRACED = re.compile(r"\{[a-z_-]*\}", re.IGNORECASE)


def runner_command(words: list[str]) -> list[str]:
    if not words or not words[0].strip():
        raise _refuse("runner.command", "the command names no program", 'write one like [sh, "{task_file}"]')
    program = words[0]
    if "{budget}" in program:
        raise _refuse("runner.command", "the program itself cannot be {budget}", "write {budget} as an argument")
    if "{task" in program:
        message = "the program itself cannot be the task"
        raise _refuse("runner.command", message, 'name the program that reads it: command: [sh, "{task_file}"]')
    if MODEL in program or ARGS in program:
        message = f"the program {short(program)} contains a placeholder"
        raise _refuse("runner.command", message, "name the program; placeholders belong in its arguments")
    if "/" in program and not program.startswith("/"):
        try:
            check_path(program.removeprefix("./"), what="program")
        except PathError as error:
            raise _refuse("runner.command", error.message, "write ./ and a path under the root") from None
        if not program.startswith("./"):
            message = (
                f"program {short(program)} is neither absolute, nor on PATH, nor written ./... as one under the root"
            )
            raise _refuse("runner.command", message, f"write ./{program}")
    for word in words[1:]:
        for found in _BRACED.findall(word):
            known = ("{task}", "{task_file}", MODEL, ARGS)
            if ("task" in found.lower() or found.lower() in (MODEL, ARGS)) and found not in known:
                message = (
                    f"placeholder {short(found)} is unknown; allowed: {{task_file}}, {{task}}, {{model}}, {{args}}"
                )
                raise _refuse("runner.command", message, did_you_mean(found[:100], known))
        if ARGS in word and word != ARGS:
            message = f"{ARGS} stands for whole arguments, so it cannot be a part of {short(word)}"
            raise _refuse("runner.command", message, f'write "{ARGS}" as an argument of its own')
    if words.count(ARGS) > 1:
        raise _refuse("runner.command", f"the command contains {ARGS} more than once", "keep one of them")
    return words


def runner_name(text: str) -> str:
    return _name(text, "runner", "runner.name")


def account_name(text: str) -> str:
    return _name(text, "account", "account.name")


def queue_name(text: str) -> str:
    return _name(text, "queue", "queue.name")


def root_id(text: str) -> str:
    return _name(text, "root", "engine.root-id")


def server_address(text: str) -> str:
    found = re.fullmatch(r"([^\s/@:\[\]]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})", text)
    if found is None or not 0 < int(found[2]) < 65_536:
        raise _refuse("engine.address", f"address {short(text)} is not HOST:PORT", "write it like localhost:7233")
    return text


def _name(text: str, what: str, code: str) -> str:
    if not re.fullmatch(RUNNER_PATTERN[1:-1], text):
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", text[:200]).strip("._-")[:64]
        raise _refuse(
            code,
            f"{what} name {short(text)} is not valid; allowed: 1-64 letters, digits and . _ -, starting with a "
            "letter or digit",
            f"write {near}" if near else "",
        )
    return text


def outcome(value: Any) -> Any:
    """For `retry.on`: what is waited out is not retried."""
    if value in ("quota", "credential"):
        raise _refuse(
            "retry.on",
            f"{value} cannot be retried: the account is parked, and the run gets one more attempt when it is probed",
            f"remove {value}",
        )
    return value


def cwd_path(text: str) -> str:
    if text == ".":
        raise _refuse(
            "runner.cwd", "cwd '.' is not allowed; the folder of scheduler.yaml is called root", "write cwd: root"
        )
    if text != "root":
        try:
            check_path(text, what="cwd")
        except PathError as error:
            raise _refuse("runner.cwd", error.message, error.hint) from None
    return text


def shown(value: Any, raw: str | None = None) -> str:
    """A value as messages show it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return str(value).lower()
        case str():
            return short(value)
        case int() | float():
            return f"the number {short(raw or str(value))[1:-1]}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def flow_list(words: list[str]) -> str:
    """A YAML list on one line."""
    plain = re.compile(r"[A-Za-z./_][A-Za-z0-9./_-]*|-[A-Za-z-][A-Za-z-]*")
    written = (word if plain.fullmatch(word) else json.dumps(word, ensure_ascii=False) for word in words)
    return f"[{', '.join(written)}]"
