"""A crontab as jobs: what cron would run, in files that run the same. Only the text; nothing is looked up here."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from scheduler.core.imports.incoming import Incoming, free, problem, slug
from scheduler.core.times.cron import ScheduleError
from scheduler.core.times.fires import smallest_gap
from scheduler.core.values.problems import Problem, UsageError
from scheduler.core.values.spec import Schedule
from scheduler.core.values.texts import short
from scheduler.core.values.units import format_duration

_ENVIRONMENT = re.compile(r"""\s*(?:"([^"]*)"|'([^']*)'|([^\s="'#@]+))\s*=\s*(.*?)\s*""")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FIELD = r"[0-9*][0-9*,/~-]*"
_ENTRY = re.compile(rf"\s*(?:@[a-z_]+|(?:{_FIELD}[ \t]+){{2}})")
_HEADING = re.compile(r"m(?:in(?:ute)?)?\s+h(?:our)?\s+(?:dom|day|d)\b.*", re.IGNORECASE)
_USER = re.compile(r"[a-z_][a-z0-9_-]*\$?")
_MACROS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")
_CRONS_OWN = ("MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING", "CRON_TZ", "SHELL", "RANDOM_DELAY")
_NOT_OF_THE_TASK = frozenset({*_CRONS_OWN, "LOGNAME", "USER"})  # cron sets the last two itself

# Words in front of what a command is about.
_WRAPPERS = frozenset[str]().union(
    ("sudo", "nice", "ionice", "env", "exec", "command", "nohup", "time", "timeout", "flock", "chronic", "setsid"),
    ("systemd-cat", "test", "run-parts", "cd", "export", "sh", "bash", "dash", "zsh", "ksh"),
    ("python", "python2", "python3", "perl", "ruby", "php", "node", "java"),
    ("true", "if", "then", "[", "source", ".", "umask", "sleep"),
)
_SUFFIXES = (".sh", ".bash", ".py", ".pl", ".rb", ".php", ".js", ".jar")
# What every shell does alike: words, quotes around them, pipes, redirections, tests of files.
_COMMON = re.compile(
    r"""(?!.*(?:\b(?:printf|source|time|read)\b|\becho\s+-|\becho\b.*\\|==|\s-v\s))"""
    r"""(?:[\w\s./=:,@+%-]|'[^']*'|"[^"$`\\!]*"|2>&1|\|(?!&)|(?<!&)>(?!&|\()|&&|(?<!\S)\[(?=\s)|(?<=\s)\](?=\s|$))*"""
)
_SHELLS = frozenset({"sh", "bash", "dash", "ksh", "zsh", "ash"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """How the runner's shell differs from cron's `/bin/sh -c`."""

    name: str = "sh"
    strict: bool = False  # it stops at the first command that fails, or at a name that is not set (-e, -u)
    allowed: tuple[str, ...] = ()  # names that a job may set with `env`


@dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """Whose lines of a system crontab are wanted, and which users there are."""

    wanted: str
    exists: Callable[[str], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class CronLine:
    """One line that names a time and a command, and the settings above it."""

    line: int
    schedule: str
    user: str | None  # of a system crontab
    command: str  # without the first % and what follows
    stdin: str | None
    environment: Mapping[str, str]
    comment: str = ""


@dataclass(slots=True)
class Crontab:
    """What stands in a crontab, and what of it cannot be carried."""

    entries: list[CronLine] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class _LineError(ValueError):
    """A line that cannot be carried: code, message and, where there is one, hint."""


def read_crontab(data: bytes, *, system: bool) -> Crontab:
    """system: the form of /etc/crontab and /etc/cron.d, with a user in front of each command."""
    found = Crontab()
    environment: dict[str, str] = {}
    comments: list[str] = []
    returns = 0
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    for number, raw in enumerate(data.split(b"\n"), 1):
        if raw.endswith(b"\r"):
            raw, returns = raw[:-1], returns or number
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            found.problems.append(_undecodable(number, raw, error))
            comments = []
            continue
        bare = text.strip(" \t")
        if bare.startswith("#"):
            comments.append(bare)
            continue
        above, comments = comments, []
        if not bare:
            continue
        setting = _ENVIRONMENT.fullmatch(text)
        if setting is not None:
            name = next(each for each in setting.groups()[:3] if each is not None)
            environment = {**environment, name: _unquoted(setting[4])}
            if name == "MAILTO" and environment[name]:
                mailed = f"MAILTO={environment[name]}: no output is mailed"
                why = f"{mailed}; it is kept with each run, and the job's file notes who got it"
                hint = "`scheduler output JOB:N` prints it"
                found.problems.append(problem(number, "mail", why, hint, error=False))
            continue
        try:
            found.entries.append(_entry(number, text, environment, _comment(above), system))
        except _LineError as error:
            found.problems.append(problem(number, *error.args))
    if returns:
        why = "lines end with CR LF, as on Windows; cron would hand the CR to each command, and it is left out here"
        found.problems.append(problem(returns, "line-ends", why, error=False))
    return found


def _undecodable(number: int, raw: bytes, error: UnicodeDecodeError) -> Problem:
    comment = raw.lstrip(b" \t").startswith(b"#")
    setting = _ENVIRONMENT.fullmatch(raw.decode(errors="replace")) is not None
    lost = "the comment" if comment else "the setting, and the lines below run without it" if setting else "the line"
    why = f"byte {error.start + 1} of the line is no UTF-8; left out: {lost}"
    return problem(number, "encoding", why, "save it as UTF-8", error=not comment)


def is_system(data: bytes, exists: Callable[[str], bool], is_program: Callable[[str], bool]) -> bool:
    """Whether the word behind each time is the name of a user. Some words, such as `mail`, are users and programs.

    Raises: UsageError where it cannot be told: some lines say one thing and some the other, or nobody knows the names.
    """
    users, commands, unknown = [], [], []
    for number, line in enumerate(data.decode(errors="replace").split("\n"), 1):
        if line.lstrip().startswith("#") or not line.strip() or _ENVIRONMENT.fullmatch(line):
            continue
        place = 1 if line.lstrip().startswith("@") else 5
        word, rest = (*line.split(None, place + 1)[place:], "", "")[:2]
        if exists(word) and rest and not rest.startswith("-"):  # an option goes on with what a command is
            if not is_program(word):
                users.append(number)
        elif not rest or not _USER.fullmatch(word) or is_program(word):
            commands.append(number)
        elif rest.startswith("/"):
            unknown.append(number)
    hint = "say what it is: --system if a user stands before each command, --no-system if not"
    if users and commands:
        why = f"line {users[0]} has the name of a user before its command, and line {commands[0]} has none"
        raise UsageError(f"it cannot be told whether this is a system crontab: {why}", hint=hint)
    if unknown and not users and not commands:
        why = f"line {unknown[0]} may begin with the name of a user whom this machine does not have"
        raise UsageError(f"it cannot be told whether this is a system crontab: {why}", hint=hint)
    return bool(users)


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
        return value[1:-1]
    return value


def _comment(lines: Sequence[str]) -> str:
    """The comment right above an entry as one description; drawings, headings and entries in comments are none."""
    words = []
    for line in lines:
        text = line.lstrip("#").strip()
        drawn = not re.search(r"[^\W\d_]{2}", text)
        if drawn or _HEADING.fullmatch(text) or _ENTRY.match(text) or re.match(r"[|.`'*]\s*[|.`'*-]", text):
            continue
        words.append(" ".join(text.split()))
    return "".join(each for each in " ".join(words) if each.isprintable())


def _entry(line: int, text: str, environment: Mapping[str, str], comment: str, system: bool) -> CronLine:
    rest = text.lstrip(" \t")
    count = 1 if rest.startswith("@") else 5
    parts = re.split(r"[ \t]+", rest, maxsplit=count + system)
    if len(parts) <= count + system or not parts[-1].strip():
        what = "a user and a command" if system else "a command"
        raise _LineError(
            "line", f"{short(rest)} is neither a setting nor a time with {what}", "cron refuses such a line, too"
        )
    schedule, user = " ".join(parts[:count]), parts[count] if system else None
    command = parts[-1]
    if "\0" in command:
        raise _LineError("line", "the command holds a NUL character")
    if schedule == "@reboot":
        message = "@reboot is no time: nothing here fires when a machine starts"
        raise _LineError("reboot", message, "a unit of systemd or the service that starts the scheduler may run it")
    if schedule == "@every_minute":
        schedule = "* * * * *"
    elif count == 1 and schedule not in _MACROS:
        raise _LineError("schedule", f"{schedule} is not a time that is known here", f"allowed: {', '.join(_MACROS)}")
    if schedule.startswith("-"):  # some crons: do not log it
        schedule = schedule[1:]
    if "~" in schedule:
        message = f"{schedule}: a random time (~) is another one after each restart of cron"
        raise _LineError("schedule", message, "write one time, and a `jitter` to the job's schedule")
    first = (user if user is not None else command.split()[0]) if count == 5 else ""
    if re.fullmatch(_FIELD, first):
        message = f"{short(rest)} seems to have six fields or more for its time; cron takes five, and runs the rest"
        hint = "in a job file six fields begin with the second: write it by hand, or with `scheduler create`"
        raise _LineError("fields", message, hint)
    before, stdin = _split_percent(command)
    before = before.rstrip()
    if not before:
        raise _LineError("line", "there is no command before the %")
    return CronLine(
        line=line, schedule=schedule, user=user, command=before, stdin=stdin, environment=environment, comment=comment
    )


def _split_percent(command: str) -> tuple[str, str | None]:
    """By cron's rule: from the first % that no backslash precedes on, it is standard input, and % ends a line."""
    found = re.match(r"((?:[^\\%]|\\.?)*)(%?)(.*)", command, re.DOTALL)
    assert found is not None
    before, percent, rest = found.groups()
    before = re.sub(r"\\(.)", lambda pair: "%" if pair[1] == "%" else pair[0], before, flags=re.DOTALL)
    if not percent:
        return before, None
    text = re.sub(r"\\?%", lambda sign: "\n" if sign[0] == "%" else "%", rest)
    return before, text if not text or text.endswith("\n") else text + "\n"


def crontab_jobs(
    found: Crontab, *, shell: Shell, zone: str, root_zone: str, users: Users | None
) -> tuple[list[Incoming], list[Problem]]:
    """The entries as jobs, and what of them could not be carried.

    zone: where cron's clock stands, unless CRON_TZ says otherwise; root_zone: that of the root, which is not written.
    users: of a system crontab.
    """
    jobs: list[Incoming] = []
    problems = list(found.problems)
    names: set[str] = set()
    for entry in found.entries:
        # Also one of somebody else has its name: whoever imports it later gets the same ids for the same lines.
        job_id = free(_id_of(entry.command), names, entry.schedule, entry.user, entry.command, entry.stdin)
        names.add(job_id)
        if users is not None and entry.user is not None and entry.user != users.wanted:
            problems.append(_other_user(entry, job_id, users))
            continue
        jobs.append(_job(entry, job_id, shell, zone, root_zone, problems))
    return jobs, problems


def _other_user(entry: CronLine, job_id: str, users: Users) -> Problem:
    assert entry.user is not None
    if not users.exists(entry.user):
        message = f"no user of this machine is called {entry.user!r}; {job_id} was left out"
        hint = "make that user, or correct the line; --user NAME takes the lines of NAME"
        return problem(entry.line, "user", message, hint)
    message = f"{job_id} runs as {entry.user}, and jobs here run as whoever runs the scheduler; it was left out"
    hint = f"import it where the scheduler runs as that user, with --user {entry.user}"
    return problem(entry.line, "other-user", message, hint, error=False)


def _job(entry: CronLine, job_id: str, shell: Shell, zone: str, root_zone: str, problems: list[Problem]) -> Incoming:
    timezone = entry.environment.get("CRON_TZ") or zone
    schedule: dict[str, str] = {"cron": entry.schedule}
    if timezone != root_zone:
        schedule["timezone"] = timezone
    delay = entry.environment.get("RANDOM_DELAY", "")
    if delay not in ("", "0"):
        jitter = _jitter(delay, entry.schedule, timezone)
        if jitter is None:
            why = f"RANDOM_DELAY={delay} is no number of minutes, or half the time between two fires and more"
            problems.append(problem(entry.line, "jitter", f"{job_id}: {why}; left out", error=False, job_id=job_id))
        else:
            schedule["jitter"] = jitter
    keys: dict[str, object] = {"id": job_id}
    if entry.comment:
        keys["description"] = entry.comment
    keys["schedule"] = entry.schedule if len(schedule) == 1 else schedule
    env, exported = {}, {}
    for name, value in entry.environment.items():
        if name in _NOT_OF_THE_TASK:
            continue
        if name in shell.allowed:
            env[name] = value
        elif _NAME.fullmatch(name) and value.isprintable():
            exported[name] = value
        else:
            why = f"no shell can set a variable named {name!r}; {job_id} runs without it"
            problems.append(problem(entry.line, "environment", why, error=False, job_id=job_id))
    if env:
        keys["env"] = env
    to = entry.environment.get("MAILTO", "")
    comments = (f"cron mailed the output to {to} (MAILTO)",) if to else ()
    text = "\n".join(_script(entry, exported, shell)) + "\n"
    return Incoming(id=job_id, stem=job_id, keys=keys, comments=comments, text=text, line=entry.line, named=False)


def _jitter(minutes: str, cron: str, timezone: str) -> str | None:
    if not (minutes.isascii() and minutes.isdecimal() and len(minutes) < 6):
        return None
    jitter = timedelta(minutes=int(minutes))
    try:
        gap = smallest_gap(Schedule(cron=cron, timezone=timezone))
    except ScheduleError:
        return None
    return format_duration(jitter) if gap is None or 2 * jitter < gap else None


def _script(entry: CronLine, exported: Mapping[str, str], shell: Shell) -> Iterator[str]:
    """The lines of a shell script that does what cron does with the command."""
    for name, value in exported.items():
        yield f"export {name}={shlex.quote(value)}"
    if not re.match(r"cd\s+/", entry.command):
        yield "cd"  # cron starts in the home folder
    name = entry.environment.get("SHELL", "").rpartition("/")[2]
    command = entry.command
    same = name in ("", "sh", shell.name) or (name in _SHELLS and _COMMON.fullmatch(command) is not None)
    if not same:
        command = f"{entry.environment['SHELL']} -c {shlex.quote(command)}"
    elif shell.strict and re.search(r"[;$`]", command):
        yield "set +eu  # as cron runs it"
    if entry.stdin is None:
        yield command
        return
    mark = "END"
    while mark in entry.stdin.splitlines():
        mark += "_"
    if re.search(r"[|;&#(){}<>]", command):
        yield "{"
        yield command
        yield f"}} <<'{mark}'"
    else:
        yield f"{command} <<'{mark}'"
    yield from entry.stdin.split("\n")[:-1]
    yield mark


def _id_of(command: str) -> str:
    """What a person would call it: the program that the command is about."""
    skip = False
    for word in re.split(r"[\s;|&()]+", command):
        name = word.strip("\"'`{}").rpartition("/")[2]
        if skip and name and not word.startswith("-"):
            skip = False
            continue
        if not name or word.startswith(("-", "$", ">", "<", "#")) or "=" in word or re.fullmatch(r"[\d.]+\w?", name):
            continue
        if name in _WRAPPERS:
            skip = name in ("cd", "test", "[", "umask", "source", ".", "flock")
            continue
        for suffix in _SUFFIXES:
            name = name.removesuffix(suffix)
        if found := slug(name):
            return found
    return "job"
