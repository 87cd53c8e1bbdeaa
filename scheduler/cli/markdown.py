"""A review as one Markdown comment of a pull request: enough to decide, and harmless whatever the files hold.

Every text that came out of a file stands in a code span, in a fence longer than any that it holds, or as escaped HTML:
so it can mention nobody, link nowhere, end no block and start none. What does not print is shown by its number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scheduler.cli.render import field_text, schedule_written, value_text
from scheduler.core.values.hidden import each_shown
from scheduler.core.values.settings import converted_file_of, runner_file_of
from scheduler.core.views import place_of_setting

if TYPE_CHECKING:
    from scheduler.core.plan.review import TaskDiff

MOST = 65_536 - 1_024  # characters of a comment on GitHub; less some for what a workflow adds
_NOTE = 1_500  # kept for saying what was cut
_SMALLEST = 500  # characters of a diff that is worth to be begun
_FEWEST = 8  # lines of a diff; fewer say nothing
_LINE = 2_000  # characters of one line of a diff
_VALUE = 300  # of one value

Json = Mapping[str, Any]


def marker(folder: str) -> str:
    """The first line of the comment of one root, by which the next one finds it.

    folder: the root in its repository.
    """
    named = "".join(c if c.isascii() and (c.isalnum() or c in "/._") else f"%{ord(c):02X}" for c in folder or ".")
    return f"<!-- scheduler plan {named} -->"


def comment(shown: Json, diffs: Sequence[TaskDiff], *, folder: str = "", read: bool = True, most: int = MOST) -> str:
    """The whole comment, at most `most` characters; what was cut off is said at its end."""
    page = _Page(most - _NOTE)
    page.add("", [marker(folder), f"### Scheduler: {_summary(shown, read)}", "", *_compared(shown)])
    page.add("notes", [f"- {code(note)}" for note in shown["notes"]])
    page.add("the error that stops everything", _unread(read))
    page.add("what the guard holds back", _guard(shown["guard"]))
    page.each("changes that give more power", "#### \u26a0\ufe0f Gives more power", list(_widens(shown)), share=0.9)
    page.each("problems", _problems_title(shown), [_problem(problem) for problem in shown["problems"]], share=0.3)
    for title, changes in _TITLES.items():
        jobs = [(job_id, job) for job_id, job in shown["jobs"].items() if job["change"] in changes]
        page.each("jobs", f"#### {title}", [_job(job_id, job, shown) for job_id, job in jobs], share=0.5)
    settings = [_setting(change) for change in shown["root_changed"] if not change["widens"]]
    page.each("settings", "#### Other settings", settings, share=0.5)
    page.diffs("#### Prompts and scripts", sorted(diffs, key=lambda diff: diff.before_sha256 is None))
    return page.text()


_TITLES = {"Added": ("created", "revived"), "Changed": ("changed",), "Moved": ("moved",), "Removed": ("archived",)}


@dataclass
class _Page:
    room: int

    def __post_init__(self) -> None:
        self._blocks: list[str] = []
        self._cut: dict[str, int] = {}

    def add(self, what: str, lines: Iterable[str]) -> bool:
        block = "\n".join(lines)
        if not block:
            return True
        if _size(block) + 2 > self.room:
            self._count(what)
            return False
        self.room -= _size(block) + 2
        self._blocks.append(block)
        return True

    def _count(self, what: str) -> None:
        self._cut[what] = self._cut.get(what, 0) + 1

    def each(self, what: str, title: str, blocks: Sequence[Sequence[str]], *, share: float) -> None:
        """As many blocks as fit into that share of the room left: no crowd of one kind may push out the next."""
        head = [title, ""]
        kept_back = self.room - int(self.room * share)
        self.room -= kept_back
        for block in blocks:
            if self.add(what, [*head, *block]):
                head = []
        self.room += kept_back

    def diffs(self, title: str, diffs: Sequence[TaskDiff]) -> None:
        head = [title, ""]
        for diff in diffs:
            if self.room < _SMALLEST:
                self._count("prompts and scripts")
                continue
            whole = [*head, *_diff(diff)] if len(diff.unified) <= self.room else []
            if whole and _size("\n".join(whole)) + 2 <= self.room:
                self.add("", whole)
                head = []
                continue
            lines = _lines(diff)
            kept = 0
            left = self.room - _size("\n".join([*head, *_diff(diff, 0)])) - 200  # what says how much was cut
            while left > 0 and kept < len(lines):
                left -= _size(_diff_line(lines[kept])) + 1
                kept += left > 0
            if kept < _FEWEST:
                self._count("prompts and scripts")
            elif self.add("prompts and scripts", [*head, *_diff(diff, kept)]):
                self._count("ends of long prompts and scripts")
                head = []

    def text(self) -> str:
        if self._cut:
            cut = ", ".join(f"{n} {what}" if what else str(n) for what, n in self._cut.items())
            self._blocks.append(
                f"**Cut: this comment has no room for all of it. Not shown: {cut}.** "
                "`scheduler plan --base …` in a clone shows everything."
            )
        return "\n\n".join(self._blocks) + "\n"


def _summary(shown: Json, read: bool) -> str:
    if not read:
        return "`scheduler.yaml` cannot be used"
    guard = shown["guard"]
    counts = [
        (len(shown["created"]), "added"),
        (len(shown["revived"]), "back"),
        (len(shown["updated"]), "changed"),
        (len(shown["task_changed"]), "with another text"),
        (len(shown["moved"]), "moved"),
        (len(shown["archived"]), "removed"),
        (0 if guard is None else guard["would_archive"], "held back by the guard"),
    ]
    said = [f"{n} {'job' if n == 1 else 'jobs'} {word}" for n, word in counts if n]
    settings = len(shown["root_changed"])
    said += [f"{settings} {'setting' if settings == 1 else 'settings'} changed"] if settings else []
    wider = sum(1 for _ in _widens(shown))
    said += [f"**{wider} {'change gives' if wider == 1 else 'changes give'} more power**"] if wider else []
    bad = sum(problem["severity"] == "error" for problem in shown["problems"])
    said += [f"**{bad} {'error' if bad == 1 else 'errors'}**"] if bad else []
    return ", ".join(said) or "nothing changes"


def _compared(shown: Json) -> list[str]:
    if shown["base"] is None:
        return ["What a sync would change now."]
    base, head = shown["base"], shown["head"]
    ahead = "" if base["tip"] == base["revision"] else f", which has moved on to {base['tip'][:12]} since"
    end = f"{code(head['name'])} ({head['revision'][:12]})" if head["revision"] else "the files on disk"
    against = f"compared with {base['revision'][:12]} of {code(base['name'])}{ahead}"
    same = shown["unchanged"] - (0 if shown["guard"] is None else shown["guard"]["would_archive"])
    untouched = f"{same} {'job is' if same == 1 else 'jobs are'} untouched"
    return [f"What merging {end} changes, {against}. {untouched}."]


def _unread(read: bool) -> list[str]:
    return (
        [] if read else ["Nothing is applied while `scheduler.yaml` has errors; the last good settings and jobs stay."]
    )


def _problems_title(shown: Json) -> str:
    kept = "A job with an error keeps its last good definition; a new one is not created."
    errors = any(problem["severity"] == "error" for problem in shown["problems"])
    return f"#### Problems\n\n{kept}" if errors else "#### Problems"


def _problem(problem: Json) -> list[str]:
    place = code(f"{problem['path']}:{problem['line']}:{problem['column']}")
    hint = f"  \n  hint: {code(problem['hint'])}" if problem["hint"] else ""
    return [f"- **{problem['severity']}** {place} {code(problem['message'])} ({code(problem['code'])}){hint}"]


def _guard(guard: Json | None) -> list[str]:
    if guard is None:
        return []
    command = code(f"scheduler sync --confirm-prune {guard['token']}")
    return [
        "#### The guard holds these back",
        "",
        f"{code(guard['why'])}: {_listed(guard['ids'])}.",
        "",
        f"They stay as they are until somebody runs, after merging, {command}.",
    ]


def _widens(shown: Json) -> Iterable[list[str]]:
    for update in shown["updated"]:
        for field in update["widens"]:
            before, after = (_value(field, update["changes"][field][side]) for side in ("before", "after"))
            what = _runs(update["changes"][field]["after"], shown) if field == "runner" else ""
            yield [f"- {code(update['id'])}: {_field(field)} {before} \u2192 {after}{what}"]
    converted: dict[tuple[str, str], tuple[list[str], set[str]]] = {}
    for change in shown["root_changed"]:
        path = converted_file_of(change["field"])
        if path is not None:
            before, after = (_value(change["field"], change[side]) for side in ("before", "after"))
            paths, jobs = converted.setdefault((before, after), ([], set()))
            paths.append(path)
            jobs.update(change["jobs"])
        elif change["widens"]:
            name = change["field"].split(".")[1] if change["field"].startswith("runners.") else ""
            users = shown["runner_jobs"].get(name, [])
            used = f"; used by {_listed(users)}" if users else "; no job uses it" if name else ""
            before, after = (_value(change["field"], change[side]) for side in ("before", "after"))
            path = runner_file_of(change["field"])
            place = place_of_setting(change["field"])
            what = (
                f"{code(place)}, {code(change['field'])}" if path is None else f"{code(path)}, which {code(name)} runs"
            )
            yield [f"- {what}: {before} \u2192 {after}{used}"]
    for (before, after), (paths, jobs) in converted.items():
        used = f"used by {_listed(sorted(jobs))}" if jobs else "no job uses it"
        yield [f"- {_listed(paths)}, by git's attributes: {before} \u2192 {after}; {used}"]


def _runs(runner: str, shown: Json) -> str:
    command = shown["runners"].get(runner)
    return f", which runs {code(_short(value_text(command)))}" if command else ""


def _job(job_id: str, job: Json, shown: Json) -> list[str]:
    place = code(f"{job['path']}:{job['line']}")
    lines = [f"**{code(job_id)}** {place}" + (" (back, with its history)" if job["change"] == "revived" else "")]
    if job["change"] == "archived":
        held = shown["guard"] is not None and job_id in shown["guard"]["ids"]
        lines[0] += ": its history stays" + (" (held back by the guard)" if held else "")
    elif job["change"] in ("created", "revived"):
        env = f", env {code(value_text(job['env']))}" if job["env"] else ""
        off = "" if job["enabled"] else "; **disabled**"
        task = code(job["task_path"] or job["path"])
        lines[0] += f": runner {code(job['runner'])}{_runs(job['runner'], shown)}{env}, task {task}{off}"
    lines += [f"- moved from {code(move['from'])}" for move in shown["moved"] if move["id"] == job_id]
    changes: Json = next((update["changes"] for update in shown["updated"] if update["id"] == job_id), {})
    for field, change in changes.items():
        before, after = (_value(field, change[side]) for side in ("before", "after"))
        if field == "schedule":  # the table has it in words
            before, after = (code(_short(schedule_written(change[side]))) for side in ("before", "after"))
        lines.append(f"- {_field(field)}: {before} \u2192 {after}")
    before, after = job["before"], job["after"]
    timed = not changes.keys().isdisjoint({"schedule", "enabled", "expires"})
    if timed or before is None or after is None:
        lines += ["", *_times(before, after)]
    return lines


def _times(before: Json | None, after: Json | None) -> list[str]:
    sides = [side for side in (before, after) if side is not None]
    titles = ["before", "after"] if len(sides) == 2 else ["it would have run" if after is None else "it will run"]
    fires = ["<br>".join(fire["local"] for fire in side["next_fires"]) or "never" for side in sides]
    return [
        "| | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(sides),
        "| schedule | " + " | ".join(_cell(side["schedule_text"]) for side in sides) + " |",
        "| next fires | " + " | ".join(fires) + " |",
        "| runs in 30 days | " + " | ".join(f"{side['runs_per_month']:,}" for side in sides) + " |",
    ]


def _setting(change: Json) -> list[str]:
    before, after = (_value(change["field"], change[side]) for side in ("before", "after"))
    return [f"- {code(change['field'])}: {before} \u2192 {after}"]


def _diff(diff: TaskDiff, most: int | None = None) -> list[str]:
    jobs = ", ".join(_html(job_id) for job_id in diff.jobs[:20])
    more = f" and {len(diff.jobs) - 20} more" if len(diff.jobs) > 20 else ""
    new = " (new)" if diff.before_sha256 is None else ""
    title = f"{_html(diff.path)}{new}, {'job' if len(diff.jobs) == 1 else 'jobs'} {jobs}{more}"
    if not diff.unified:
        return [f"- {code(diff.path)}{new}, {_listed(diff.jobs)}: {code(diff.note or 'the text is the same')}"]
    lines = _lines(diff)
    kept = lines if most is None else lines[:most]
    body = [_diff_line(line) for line in kept]
    note = [f"**{_printable(diff.note)}**", ""] if diff.note else []
    fence = "`" * max(3, 1 + max((len(run) for line in body for run in re.findall("`+", line)), default=0))
    cut = len(lines) - len(kept)
    tail = [f"**Cut: {cut} more lines of this text are not shown.**", ""] if cut else []
    is_open = " open" if diff.before_sha256 is not None else ""
    return [
        f"<details{is_open}><summary>{title}</summary>",
        "",
        *note,
        f"{fence}diff",
        *body,
        fence,
        "",
        *tail,
        "</details>",
    ]


def _lines(diff: TaskDiff) -> list[str]:
    """Not as splitlines() has it: what another character parts would stand there without its sign."""
    return diff.unified.split("\n")[:-1]


def code(text: str) -> str:
    """A text as a code span, on one line."""
    shown = _printable(" ".join(text.split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{fence}{space}{shown or ' '}{space}{fence}"


def _html(text: str) -> str:
    """For a block of HTML, in which nothing of Markdown counts; never for a line of text."""
    return f"<code>{html.escape(_printable(text))}</code>".replace("@", "&#64;")


def _cell(text: str) -> str:
    return code(text).replace("|", "\\|")


def _diff_line(line: str) -> str:
    if len(line) > _LINE:
        line = f"{line[:_LINE]}\u2026 ({len(line) - _LINE} more characters)"
    return _printable(line)


def _printable(text: str) -> str:
    """Characters that hide, turn or end what stands around them, by their number: <U+202E>."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if plain or c == "\t" else f"<U+{ord(c):04X}>" for c, plain in each_shown(text))


def _field(name: str) -> str:
    return code(name.removesuffix("_ms"))


def _value(field: str, value: Any) -> str:
    return code(_short(field_text(field, value)))


def _short(text: str) -> str:
    return text if len(text) <= _VALUE else f"{text[:_VALUE]}\u2026 ({len(text) - _VALUE} more characters)"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(code(name) for name in names[:20]) + more


def _size(text: str) -> int:
    """As JavaScript and GitHub count: UTF-16 units."""
    return len(text) + sum(c > "\uffff" for c in text)
