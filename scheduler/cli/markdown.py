"""A review as one Markdown comment for a pull request: enough to decide, and harmless whatever the files contain.

Every text from a file is in a code span, in a fence longer than any that it contains, or in escaped HTML. So it
cannot mention anybody, link anywhere, or end or start a block. Characters that do not print are shown by number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from scheduler.cli.render import cost_change, field_text, schedule_written, value_text
from scheduler.core.plan.headline import (
    Power,
    common_zone,
    fires_of,
    headline,
    own_changes,
    powers,
    retimed,
    times_as_many,
)
from scheduler.core.values.hidden import each_shown
from scheduler.core.values.settings import channel_of, is_inherited_setting, named_file_of, runner_of
from scheduler.core.values.texts import counted
from scheduler.core.views import place_of_setting

if TYPE_CHECKING:
    from scheduler.core.plan.review import TaskDiff

MOST = 65_536 - 1_024  # characters of a comment on GitHub, minus room for what a workflow adds
_NOTE = 1_500  # reserved for saying what was cut
_SMALLEST = 500  # characters; a shorter part of a diff is not worth showing
_FEWEST = 8  # lines of a diff; fewer are meaningless
_LINE = 2_000  # characters of one line of a diff
_VALUE = 300  # of one value

Json = Mapping[str, Any]


def marker(folder: str) -> str:
    """The first line of a root's comment, which identifies it for the next update.

    folder: the root in its repository.
    """
    named = "".join(c if c.isascii() and (c.isalnum() or c in "/._") else f"%{ord(c):02X}" for c in folder or ".")
    return f"<!-- scheduler plan {named} -->"


def comment(shown: Json, diffs: Sequence[TaskDiff], *, folder: str = "", read: bool = True, most: int = MOST) -> str:
    """The whole comment, at most `most` characters. Its end says what was cut off."""
    page = _Page(most - _NOTE)
    page.add(
        "",
        [
            marker(folder),
            f"### Scheduler: {headline(shown, read=read, name=code, strong=_strong)}",
            "",
            *_compared(shown),
        ],
    )
    page.add("notes", [f"- {code(note)}" for note in shown["notes"]])
    page.add("the error that blocks the sync", _unread(read))
    page.add("jobs held back by the prune guard", _guard(shown["guard"]))
    errors = [_problem(each) for each in shown["problems"] if each["severity"] == "error"]
    page.bullets("problems", _ERRORS, errors, share=0.3)
    power = [line for each in powers(shown) for line in _power(each, shown)]
    page.bullets("changes that give more power", "#### \u26a0\ufe0f Gives more power", power, share=0.9)
    texts = sorted(diffs, key=lambda diff: diff.before_sha256 is None)
    page.diffs("#### Prompts and scripts", texts, share=0.6)
    for title, jobs in _sections(shown):
        page.each("jobs", f"#### {title}", [_job(job_id, job, shown) for job_id, job in jobs], share=0.5)
    costs = [f"- {code(each['id'])}: {cost_change(each)}" for each in shown.get("costs", ())]
    page.bullets("costs", "#### Costs", costs, share=0.5)
    settings = [_setting(change) for change in shown["root_changed"] if not change["widens"]]
    page.bullets("settings", "#### Other settings", settings, share=0.5)
    warnings = [_problem(each) for each in shown["problems"] if each["severity"] != "error"]
    page.bullets("problems", "#### Warnings", warnings, share=0.9)
    return page.text()


_ERRORS = "#### Errors\n\nA job with an error keeps its last good definition; a new one is not created."


def _sections(shown: Json) -> Iterator[tuple[str, list[tuple[str, Json]]]]:
    """The jobs of each section: changed run times first."""
    jobs = shown["jobs"].items()
    inherits = {update["id"] for update in shown["updated"] if not own_changes(update)}
    changed = [(job_id, job) for job_id, job in jobs if job["change"] == "changed"]
    yield "Schedules", [(job_id, job) for job_id, job in changed if retimed(job)]
    for title, changes in (("Added", ("created", "revived")), ("Removed", ("archived",))):
        yield title, [(job_id, job) for job_id, job in jobs if job["change"] in changes]
    others = [(job_id, job) for job_id, job in changed if not retimed(job)]
    moved = {move["id"] for move in shown["moved"]}
    yield "Other changes", [(job_id, job) for job_id, job in others if job_id not in inherits or job_id in moved]
    yield "Moved", [(job_id, job) for job_id, job in jobs if job["change"] == "moved"]


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
        """As many blocks as fit in this share of the remaining room, so that no section crowds out the next."""
        head = [title, ""]
        kept_back = self.room - int(self.room * share)
        self.room -= kept_back
        for block in blocks:
            if self.add(what, [*head, *block]):
                head = []
        self.room += kept_back

    def bullets(self, what: str, title: str, lines: Sequence[str], *, share: float) -> None:
        """As many bullets of one list as fit, without blank lines between them."""
        kept_back = self.room - int(self.room * share)
        left, kept = int(self.room * share) - _size(title) - 4, 0
        while kept < len(lines) and (left := left - _size(lines[kept]) - 1) >= 0:
            kept += 1
        for _ in lines[kept:]:
            self._count(what)
        self.room -= kept_back
        if kept:
            self.add(what, [title, "", *lines[:kept]])
        self.room += kept_back

    def diffs(self, title: str, diffs: Sequence[TaskDiff], *, share: float) -> None:
        """As much of the texts as fits in this share of the remaining room; new texts come last."""
        kept_back = self.room - int(self.room * share)
        self.room -= kept_back
        self._diffs(title, diffs)
        self.room += kept_back

    def _diffs(self, title: str, diffs: Sequence[TaskDiff]) -> None:
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
            left = self.room - _size("\n".join([*head, *_diff(diff, 0)])) - 200  # for saying how much was cut
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
                f"**Cut: this comment is too long. Not shown: {cut}.** "
                "`scheduler plan --base …` in a clone shows everything."
            )
        return "\n\n".join(self._blocks) + "\n"


def _strong(text: str) -> str:
    return f"**{text}**"


def _compared(shown: Json) -> list[str]:
    if shown["base"] is None:
        return ["What a sync would change now."]
    base, head = shown["base"], shown["head"]
    ahead = "" if base["tip"] == base["revision"] else f", which has moved on to {base['tip'][:12]} since"
    end = f"{code(head['name'])} ({head['revision'][:12]})" if head["revision"] else "the files on disk"
    against = f"compared with {base['revision'][:12]} of {code(base['name'])}{ahead}"
    same = shown["unchanged"] - (0 if shown["guard"] is None else shown["guard"]["would_archive"])
    untouched = f"{counted(same, 'job is', 'jobs are')} untouched"
    return [f"What merging {end} changes, {against}. {untouched}."]


def _unread(read: bool) -> list[str]:
    return (
        [] if read else ["Nothing is applied while `scheduler.yaml` has errors; the last good settings and jobs stay."]
    )


def _problem(problem: Json) -> str:
    place = code(f"{problem['path']}:{problem['line']}:{problem['column']}")
    hint = f"  \n  hint: {code(problem['hint'])}" if problem["hint"] else ""
    return f"- **{problem['severity']}** {place} {code(problem['message'])} ({code(problem['code'])}){hint}"


def _guard(guard: Json | None) -> list[str]:
    if guard is None:
        return []
    command = code(f"scheduler sync --confirm-prune {guard['token']}")
    return [
        "#### Held back by the prune guard",
        "",
        f"{code(guard['why'])}: {_listed(guard['ids'])}.",
        "",
        f"They are not archived until someone runs {command} after merging.",
    ]


def _power(power: Power, shown: Json) -> Iterator[str]:
    before, after = (_value(power.field, side) for side in (power.before, power.after))
    if power.kind == "pair":
        more = f", with {code(value_text(power.env))} in its environment" if power.env else ""
        more += f"; delivers to {_listed(power.deliver)}" if power.deliver else ""
        more += f"; pings {_value('ping', power.ping)}" if power.ping else ""
        what = f"{power.title} with runner {code(power.runner)}{_runs(power.runner, shown)}"
        yield f"- {_listed(power.jobs)}: {what}, for up to {_value('timeout_ms', power.timeout_ms)} a run{more}"
    elif power.kind == "field":
        yield f"- {_listed(power.jobs)}: {_field(power.field)} {before} \u2192 {after}{_runs(power.runner, shown)}"
    elif power.kind == "conversion":
        used = f"used by {_listed(power.jobs)}" if power.jobs else "no job uses it"
        yield f"- {_listed(power.paths)}, by git's attributes: {before} \u2192 {after}; {used}"
    else:
        path = named_file_of(power.field)
        place = code(place_of_setting(power.field))
        what = (
            f"{place}, {code(power.field)}"
            if path is None
            else f"{code(path)}, which {code(runner_of(power.field) or channel_of(power.field) or '')} runs"
        )
        yield f"- {what}: {before} \u2192 {after}{_runs(power.runner, shown)}{_users(power.field, power.jobs)}"


def _users(field: str, jobs: Sequence[str]) -> str:
    """Who is affected by a setting: users of the runner or channel, or jobs that inherit the default."""
    if runner_of(field) is not None or channel_of(field) is not None:
        return f"; used by {_listed(jobs)}" if jobs else "; no job uses it"
    if not is_inherited_setting(field):
        return ""
    return f"; for {counted(len(jobs), 'job')}: {_listed(jobs)}" if jobs else "; for no job"


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
    update = next((each for each in shown["updated"] if each["id"] == job_id), None)
    for field, change in ({} if update is None else own_changes(update)).items():
        before, after = (_value(field, change[side]) for side in ("before", "after"))
        if field == "schedule":  # the table shows it in words
            before, after = (code(_short(schedule_written(change[side]))) for side in ("before", "after"))
        lines.append(f"- {_field(field)}: {before} \u2192 {after}")
    if retimed(job):
        lines += ["", *_times(job)]
    return lines


def _times(job: Json) -> list[str]:
    """Run times before and after. The fires are folded, with their zone in the title of the table."""
    before, after = job["before"], job["after"]
    sides = [side for side in (before, after) if side is not None]
    titles = ["before", "after"] if len(sides) == 2 else ["it would have run" if after is None else "it will run"]
    runs = [f"{side['runs_per_month']:,}" for side in sides]
    if job["runs_factor"]:
        runs[-1] += f", **{times_as_many(job['runs_factor'])}**"
    zone = common_zone(*sides)
    columns = [fires_of(side, zone) or ["never"] for side in sides]
    rows = [" | ".join(row) for row in zip_longest(*columns, fillvalue="")]
    two = len(sides) == 2
    return [
        "| | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(sides),
        "| schedule | " + " | ".join(_cell(side["schedule_text"]) for side in sides) + " |",
        "| runs in 30 days | " + " | ".join(runs) + " |",
        "",
        "<details><summary>Next fires</summary>",
        "",
        f"| {zone} | before | after |" if two else f"| {zone or 'next fires'} |",
        "|---|---|---|" if two else "|---|",
        *(f"| {number} | {row} |" if two else f"| {row} |" for number, row in enumerate(rows, start=1)),
        "",
        "</details>",
    ]


def _setting(change: Json) -> str:
    before, after = (_value(change["field"], change[side]) for side in ("before", "after"))
    return f"- {code(change['field'])}: {before} \u2192 {after}{_users(change['field'], change.get('jobs', ()))}"


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
    """The lines of a text. Unlike splitlines(), splits only at line feeds: other pieces would lack a diff sign."""
    return diff.unified.split("\n")[:-1]


def code(text: str) -> str:
    """A text as a code span, on one line."""
    shown = _printable(" ".join(text.split()))
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{fence}{space}{shown or ' '}{space}{fence}"


def _html(text: str) -> str:
    """Text for an HTML block, where Markdown has no effect; never for a line of text."""
    return f"<code>{html.escape(_printable(text))}</code>".replace("@", "&#64;")


def _cell(text: str) -> str:
    return code(text).replace("|", "\\|")


def _diff_line(line: str) -> str:
    if len(line) > _LINE:
        line = f"{line[:_LINE]}\u2026 ({len(line) - _LINE} more characters)"
    return _printable(line)


def _printable(text: str) -> str:
    """Replace characters that hide, reorder or end the surrounding text by their number: <U+202E>."""
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
    """The length as JavaScript and GitHub count it: in UTF-16 units."""
    return len(text) + sum(c > "\uffff" for c in text)
