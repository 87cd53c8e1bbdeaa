"""The samples of the documentation are what the program prints: each is run, or says beside itself why it is not.

Every ```` ```console ```` block of the README, the tutorial and the how-to pages is run as a person would: the commands
of a page one after the other, in a root of their own, with the edits that the text around them asks for. What is
printed is compared but for times, ids, durations and places. `GOLDEN=write` puts what was printed into the pages.

A block below `<!-- not run: REASON -->` is left alone. A command with nothing below it only has to succeed.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faces.test_importing import phantom
from tests.helpers import REPOSITORY, Daemon, git

PAGES = [
    "README.md",
    "docs/tutorial.md",
    *(f"docs/how-to/{path.name}" for path in sorted(REPOSITORY.glob("docs/how-to/*.md"))),
]
_BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^\n]+) -->\n)?^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r"^(?:#+ (?P<heading>.+)|\*\*(?P<bold>[^*\n]+)\.?\*\*.*)$", re.MULTILINE)
PATIENCE_S = 15.0  # for what a daemon does meanwhile
_READS = re.compile(
    r"scheduler (?:--\S+ \S+ )*(?:list|history|audit|next|show|doctor|explain|task|output|log|deliveries)\b"
)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a page: the commands, each with what the page says that it prints."""

    title: str  # the heading, or the bold words, that it is below
    why: str  # it is not run; empty where it is
    text: str
    start: int  # of `text` in the page

    @property
    def commands(self) -> list[tuple[str, list[str]]]:
        """Each command as it stands there, and the lines below it."""
        found: list[tuple[str, list[str]]] = []
        for line in self.text.splitlines():
            if line.startswith(("$ ", "# ")):
                found.append((line, []))
            else:
                assert found, f"no command prints {line!r}"
                found[-1][1].append(line)
        return found


def blocks(page: str) -> list[Block]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    titles = [(each.start(), (each["heading"] or each["bold"]).rstrip(".")) for each in _TITLE.finditer(text)]
    return [
        Block(
            title=[title for start, title in titles if start < each.start()][-1],
            why=each["why"] or "",
            text=each["text"],
            start=each.start("text"),
        )
        for each in _BLOCK.finditer(text)
    ]


# -- what is the same but for times, ids, durations and places -------------------------------------

_SAME = [
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d)?(?:\.\d+)?(?= [A-Z])", "TIME"),
    (r"\b\d+(?:[.,]\d+)* ?(?:ms|s|[KMG]iB)(?=[ ;,]|$)", "SIZE"),
    (r"\b(?:in|due) \d+[smhd](?: ago)?(?= )", "SOON"),
    (r"\b\d+[smhd] ago\b", "AGO"),
    (r"(?<=AGO) +\d+$", " N"),
    (r"(?<![\w./-])([a-z][a-z0-9-]*):\d+\b(?!:)", r"\1:N"),
    (r"\b(?=[0-9a-f]*\d|[a-f]{7}\b)[0-9a-f]{7,64}\b(?![\w-])", "HASH"),
    (r"\bprocess \d+ on [\w.-]+", "process PID on HOST"),
    (r"\b(pid|duration_ms)=\d+", r"\1=N"),
    (r"\b\d+ (slot|job|run|backup)s?\b", r"N \1s"),
    (r"^\d+ warnings?$", "N warnings"),  # the clock of this machine may be one of them
    (r"^ok  [a-z, ]+$", "ok"),
    (r"\bdata 20\d\d[a-z] from \S+", "rules"),
    (r"/[^ :]*/backups/[\w.-]+", "BACKUPS"),
]
_OF_THE_MACHINE = re.compile(r"^(?:ok|warning|error) +(?:clock|disk|zones)\b(?!,)")


_LATE = re.compile(r" skipped  (?:overlap|missed)  schedule ")
_NEWEST = re.compile(r"(?<=\bhistory )(\S+) -n \d+")  # how many of them there are by now depends on who reads


def plain(text: str) -> list[str]:
    """The lines without what differs between two runs, and without what `doctor` says of the machine."""
    found: list[str] = []
    skips = False
    for line in text.splitlines():
        skips = _OF_THE_MACHINE.match(line) is not None or (skips and line.startswith("   "))
        if not skips and line.strip():
            line = re.sub(r" {2,}", "  ", line.rstrip())
            for pattern, word in _SAME:
                line = re.sub(pattern, word, line)
            found.append(line)
    return found


def same(command: str, told: list[str], printed: str) -> bool:
    """Whether the page tells what was printed; of a history, whether it tells each kind of row."""
    wanted, found = plain("\n".join(told)), plain(printed)
    if re.search(r"\bhistory\b", command):
        if _NEWEST.search(command):
            return {line for line in wanted if not line.startswith("only the newest ")} <= {*found}
        # A busy machine may leave a slot of a clock that ticks every second to the next one: what the page does not
        # tell of, and what says nothing about the sample.
        late = {line for line in found if _LATE.search(line)}
        wanted, found = sorted(set(wanted)), sorted({*found} - (late - {*wanted}))
    if "..." not in wanted and len(wanted) != len(found):
        return False
    pattern = "\n".join(re.escape(line).replace("…", ".*?") for line in wanted)
    return re.fullmatch(pattern.replace(r"\.\.\.", r"(?:.|\n)*"), "\n".join(found)) is not None


# -- how a page is run -----------------------------------------------------------------------------


@dataclass(slots=True)
class World:
    """The root of one page, and what stands in the page for what is here."""

    folder: Path  # for all that the page touches
    root: Path
    named: str  # the root's path in the page
    stands: dict[str, str] = field(default_factory=dict)  # in commands: what the page says, and what is done
    prints: dict[str, str] = field(default_factory=dict)  # in what is printed: what is here, and what the page says
    env: dict[str, str] = field(default_factory=dict)
    daemon: Daemon | None = None

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def edit(self, path: str, *changes: tuple[str, str]) -> None:
        text = (self.root / path).read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        beside = self.root / f"{path}.new"
        beside.write_text(text)
        beside.replace(self.root / path)

    def environ(self) -> dict[str, str]:
        path = f"{self.folder}/bin{os.pathsep}{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "TZ": "UTC", **self.env}

    def here(self, command: str) -> str:
        for said, done in self.stands.items():
            command = command.replace(said, done)
        return _NEWEST.sub(r"\1", command)

    def run(self, command: str) -> str:
        """What a command prints, on both streams, in the words of the page."""
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.root,
            env=self.environ(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        printed = done.stdout
        for here, said in {**self.prints, str(self.root): self.named, os.environ["HOME"]: "/home/you"}.items():
            printed = printed.replace(here, said)
        return printed

    def serve(self) -> Daemon:
        if self.daemon is None:
            command = [sys.executable, "-m", "scheduler", "serve"]
            self.daemon = Daemon(command, self.environ(), cwd=self.root)
            self.daemon.says(" serving root=")
        return self.daemon

    def stop(self) -> None:
        if self.daemon is not None and self.daemon.alive:
            self.daemon.stop(signal.SIGTERM)
        self.daemon = None


@dataclass(frozen=True, slots=True)
class Story:
    """What a page asks its reader to do beside its commands: first of all, and below each title."""

    begin: Callable[[World], None]
    then: Mapping[str, Callable[[World], None]] = field(default_factory=dict)


def nothing(world: World) -> None:
    """An empty folder will do."""


def example(world: World) -> None:
    """jobs.example as a repository of its own, with a daemon; its clock ticks every second, to wait for less."""
    shutil.copytree(
        REPOSITORY / "jobs.example", world.root, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".scheduler")
    )
    world.edit("jobs/clock.yaml", ("{every: 10s}", "{every: 1s}"))
    world.stands = {
        "+20s": "+3s",
        "/tmp/": f"{world.folder}/tmp/",
        # A loss counts at once if somebody asks, so that no slot comes in between.
        # Just after a slot: the next one must not come before the loss is believed.
        f"mv jobs/tock.yaml {world.folder}/tmp/": (
            "while [ $(($(date +%s) % 5)) -ne 1 ]; do sleep 0.1; done;"
            f" mv jobs/tock.yaml {world.folder}/tmp/ && scheduler sync -q"
        ),
        "rm jobs/heartbeat-copy.md": "rm jobs/heartbeat-copy.md && scheduler sync -q",  # the reader takes a second
    }
    world.prints = {"every second": "every 10 seconds"}
    (world.folder / "tmp").mkdir()
    committed(world)


def committed(world: World) -> None:
    git(world.root, "init", "-q", "--template=")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "Jobs")


def served_example(world: World) -> None:
    example(world)
    world.serve().says("run_id=tick:1 ")


def write_longer(world: World) -> None:
    world.edit("jobs/clock.yaml", ("Write one short line", "Write one long line"))


def tock_once(world: World) -> None:
    world.write("jobs/tock.yaml", "id: tock\nschedule: {every: 5s}\ntask: Tock.\nrunner: echo\n")


def half_past(world: World) -> None:
    world.edit("jobs/heartbeat.md", ('"0 * * * *"', '"30 * * * *"'), ("MODE: calm", "MODE: busy"))


def break_triage(world: World) -> None:
    world.edit("jobs/triage.yaml", ("tags: ", "tag: "), ("20m", "20"))


def mend_triage(world: World) -> None:
    git(world.root, "checkout", "-q", "jobs/triage.yaml")
    world.run("scheduler sync")


def lose_all(world: World) -> None:
    (world.root / "jobs").rename(world.folder / "tmp/away")


def bring_back(world: World) -> None:
    (world.folder / "tmp/away").rename(world.root / "jobs")
    world.run("scheduler sync")


def mended_and_gone(world: World) -> None:
    mend_triage(world)
    lose_all(world)


def crontab(world: World) -> None:
    """The crontab that the page shows, and the program that prints it."""
    world.run("scheduler init")
    page = (REPOSITORY / "docs/how-to/move-from-crontab.md").read_text(encoding="utf-8")
    found = re.search(r"^```text\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    (world.folder / "bin").mkdir()
    program = world.folder / "bin/crontab"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{found[1]}END\n")
    program.chmod(0o755)


def elsewhere(page: str) -> Callable[[World], None]:
    """The files that a page shows below their paths, in the root or in the home folder."""

    def begin(world: World) -> None:
        world.run("scheduler init")
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        for path, content in re.findall(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            place = Path(os.environ["HOME"]) / path[2:] if path.startswith("~/") else world.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(content)
        git(world.root, "init", "-q", "--template=")

    return begin


def phantoms(world: World) -> None:
    world.run("scheduler init")
    (world.root / "data").mkdir()
    phantom(
        world.root / "data/phantom.db",
        {"id": "6f1c0c3e-0b43-4a3f-8a0e-3b1f6a1d2e3f", "name": "Hourly heartbeat"},
        {"id": "Triage!", "name": "Triage"},
    )
    git(world.root, "init", "-q", "--template=")


def triage(world: World) -> None:
    world.run("scheduler init")
    world.write("prompts/triage.md", "Sort it.\n")
    world.write(
        "jobs/triage.yaml",
        "id: triage\nname: Morning triage\ndescription: Sorts what came in overnight, on working days\n"
        'tags: [agent]\nschedule:\n  cron: "0 9 * * 1-5"\n  timezone: UTC\ntask_source_path: prompts/triage.md\n',
    )
    committed(world)
    world.run("scheduler sync")


def in_berlin(world: World) -> None:
    """The job as the page has it before its new schedule."""
    world.write(
        "jobs/triage.yaml",
        'id: triage\nschedule:\n  cron: "0 9 * * 1-5"\n  timezone: Europe/Berlin\n  jitter: 30s\n'
        "task_source_path: prompts/triage.md\n",
    )
    world.run("scheduler sync")


def remote(world: World) -> None:
    """A repository of jobs somewhere else."""
    triage(world)
    bare = world.folder / "remote.git"
    git(world.root, "clone", "-q", "--bare", str(world.root), str(bare))
    shutil.rmtree(world.root)
    world.root.mkdir()
    world.stands = {
        "git@example.com:team/jobs.git": str(bare),
        "scheduler --root prod serve": "scheduler --root prod sync",
    }
    world.prints = {str(bare): "git@example.com:team/jobs.git"}


def in_the_clone(world: World) -> None:
    world.stands["scheduler update"] = "scheduler --root prod update"


def agents_run(world: World) -> None:
    world.run("scheduler init")
    page = (REPOSITORY / "docs/how-to/let-an-agent-manage-its-schedule.md").read_text(encoding="utf-8")
    policy = re.search(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert policy is not None
    world.write("scheduler.yaml", (world.root / "scheduler.yaml").read_text() + policy[1])
    world.write("jobs/heartbeat.md", "---\nid: heartbeat\ntags: [agent]\nschedule: '@hourly'\n---\nLook around.\n")
    committed(world)
    world.run("scheduler sync")
    world.env = {"SCHEDULER_RUN_ID": "heartbeat:7"}


def with_a_hook(world: World) -> None:
    world.run("scheduler init")
    git(world.root, "init", "-q", "--template=")
    hook = world.root / ".git/hooks/post-commit"
    hook.parent.mkdir()
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)


def usb(world: World) -> None:
    example(world)
    (world.folder / "usb").mkdir()
    world.stands = {"/mnt/usb": f"{world.folder}/usb"}
    world.prints = {f"{world.folder}/usb": "/mnt/usb"}
    world.run("scheduler run heartbeat --wait")


def slow(world: World) -> None:
    """One that takes its time, as the page has it; cancelled once it runs."""
    example(world)
    world.write("jobs/slow.yaml", "id: slow\nschedule: manual\nrunner: sleep\ntask: '1000'\n")
    world.edit("scheduler.yaml", ("runners:\n", 'runners:\n  sleep: {command: [sleep, --, "{task}"]}\n'))
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "Slow")
    world.prints |= {f"manual {getpass.getuser()}": "manual you"}
    world.serve().says("run_id=tick:1 ")


def reviewed(world: World) -> None:
    """The edits that the page compares with what the daemon serves, in a clone."""
    half_past(world)
    world.run("scheduler sync")
    review = world.folder / "review"
    git(world.root, "clone", "-q", str(world.root), str(review))
    world.stands |= {"~/review": str(review), "/srv/jobs": str(world.root)}


STORIES: Mapping[str, Story] = {
    "README.md": Story(
        served_example,
        {
            "A tour": write_longer,
            "Add a file": tock_once,
            "Change a definition": half_past,
            "Break a file": break_triage,
            "Delete too many": mended_and_gone,
            "Pause a job": bring_back,
        },
    ),
    "docs/tutorial.md": Story(
        example,
        {
            "4. Edit a prompt": write_longer,
            "6. Change a definition": half_past,
            "7. Add a job": tock_once,
            "8. Break a file": break_triage,
            "9. Pause": mend_triage,
        },
    ),
    "docs/how-to/back-up-and-restore.md": Story(usb),
    "docs/how-to/bring-results-to-people.md": Story(served_example),
    "docs/how-to/change-a-job.md": Story(triage, {"A new schedule": in_berlin}),
    "docs/how-to/deploy-from-a-branch.md": Story(remote, {"Change a job": in_the_clone}),
    "docs/how-to/let-an-agent-manage-its-schedule.md": Story(agents_run),
    **{
        page: Story(elsewhere(page))
        for page in (
            f"docs/how-to/move-from-{name}.md" for name in ["claude", "codex", "hermes", "k8s", "openclaw", "systemd"]
        )
    },
    "docs/how-to/move-from-crontab.md": Story(crontab),
    "docs/how-to/move-from-phantom.md": Story(phantoms),
    "docs/how-to/resync-on-every-commit.md": Story(with_a_hook),
    "docs/how-to/run-the-daemon.md": Story(slow, {"See what an edit would do": reviewed}),
}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "root").mkdir()
    found = World(folder=tmp_path, root=tmp_path / "root", named="/srv/jobs")
    yield found
    found.stop()


def place_of(page: str) -> str:
    """The path of the root that a page has in its samples."""
    text = "".join(each.text for each in blocks(page))
    if "/home/you/my-jobs" in text:
        return "/home/you/my-jobs"
    found = re.search(r"/home/\w+/(?:my-jobs|ops)|/srv/(?:jobs)?", text)
    return "/srv/jobs" if found is None else found[0].rstrip("/")


@pytest.mark.parametrize("page", [page for page in PAGES if any(not each.why for each in blocks(page))])
def test_the_samples_of_a_page_are_what_the_program_prints(page: str, world: World) -> None:
    story, entered, wrong, texts = STORIES[page], "", [], []
    world.named = place_of(page)
    story.begin(world)
    for block in blocks(page):
        if block.title != entered:
            entered = block.title
            story.then.get(entered, nothing)(world)
        lines, differs = [], False
        for line, told in [] if block.why else block.commands:
            command = re.sub(r"\s{2,}#.*", "", line[2:])
            printed = _played(world, command, told)
            if told and not same(command, told, printed):
                differs = True
                shown = "\n".join(told)
                wrong.append(f"{page}, below {block.title!r}\n{line}\nthe page:\n{shown}\n\nprinted:\n{printed}")
                told = _of_another_machine(printed, told)
            lines += [line, *told]
        if differs:
            texts.append((block, "".join(f"{line}\n" for line in lines)))
    if os.environ.get("GOLDEN") == "write":
        _write_back(page, texts)
    assert not wrong, "\n".join(wrong) + "\n`GOLDEN=write` puts what was printed into the page"


def _of_another_machine(printed: str, told: list[str]) -> list[str]:
    """What was printed; what `doctor` says of the machine as the page has it, which needs no hint."""
    machine = {line.split()[1]: line for line in told if _OF_THE_MACHINE.match(line)}
    found: list[str] = []
    skips = False
    for line in printed.splitlines():
        mine = _OF_THE_MACHINE.match(line) is not None
        skips = (mine or (skips and line.startswith("   "))) and bool(machine)
        if not skips:
            found.append(line)
        elif mine and line.split()[1] in machine:
            found.append(machine[line.split()[1]])
    return found


def _played(world: World, command: str, told: list[str]) -> str:
    """What it prints; where a daemon has to do something first, what it prints once that is done."""
    if command == "scheduler serve":
        daemon = world.serve()
        for line in told:
            words = re.sub(r"^TIME ", "", plain(line.replace(world.named, str(world.root)))[0])
            daemon.says(words.split("  ")[-1].split(" ")[0])
        return "\n".join(told)
    give_up = time.monotonic() + PATIENCE_S
    while True:
        printed = world.run(command)
        if not told or same(command, told, printed) or not _READS.search(command) or time.monotonic() > give_up:
            return printed
        time.sleep(0.4)


def _write_back(page: str, texts: list[tuple[Block, str]]) -> None:
    path = REPOSITORY / page
    text = path.read_text(encoding="utf-8")
    for block, new in reversed(texts):
        text = text[: block.start] + new + text[block.start + len(block.text) :]
    path.write_text(text, encoding="utf-8")


def test_every_sample_is_run_or_says_why_not() -> None:
    """And every story is that of a page, and of titles that it has."""
    for page in PAGES:
        found = blocks(page)
        assert all(len(each.why.split()) > 3 for each in found if each.why), page
    assert STORIES.keys() == {page for page in PAGES if any(not each.why for each in blocks(page))}
    for page, story in STORIES.items():
        assert story.then.keys() <= {each.title for each in blocks(page)}, page
    shown = {line[2:] for page in PAGES for each in blocks(page) for line in each.text.splitlines() if line[:2] == "$ "}
    assert len(shown) > 40


@pytest.mark.parametrize(
    ("told", "printed", "expected"),
    [
        (
            "tick is paused until 2026-11-23 14:27:22 Europe/Berlin",
            "tick is paused until 2027-01-01 00:00:00 UTC",
            False,
        ),
        ("at 2026-11-23T14:27:22Z", "at 2026-11-23T14:27:22.5Z", True),
        ("commit a78b7041afd9", "commit 0123456789ab", True),
        ("commit a78b7041afd9", "commit abc", False),
        ("hour, Europe…  in 2h  -", "hour, Europe/Berlin  in 30m  -", True),
        ("a\n...\nd", "a\nb\nc\nd", True),
        ("a\n...\nd", "a\nb\nc\ne", False),
        ("a:1 succeeded in 4ms", "a:17 succeeded in 2.1s", True),
        ("jobs/a.yaml:5:1: error", "jobs/a.yaml:6:1: error", False),
    ],
)
def test_what_is_compared_and_what_is_not(told: str, printed: str, expected: bool) -> None:
    assert same("list", told.splitlines(), printed) is expected
