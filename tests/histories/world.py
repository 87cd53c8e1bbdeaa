"""A repository whose people commit good and broken files by the hundred, and a real daemon that follows them."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.crash.world import World
from tests.helpers import Daemon, Result, call, until
from tests.histories.model import Definition, Fold, State, Tree, conflicted, read, sha256

ROOT = """\
version: 1
defaults: {runner: cat, failure_limit: 0}
runners:
  cat: {command: [cat], input: stdin}
limits: {max_running: 16}
prune: {max_percent: 60, max_jobs: 4}
"""
KEEPER = 'id: keeper\nname: "Never touched"\nschedule: {every: 1s}\ntask_source_path: prompts/keeper.md\n'
SCHEDULES = (
    "{every: 1s}",
    "{every: 700h}",
    "{every: 700h, jitter: 30s}",
    "{every: 900h, jitter: 30s}",
    '{cron: "5 4 1 1 *"}',
    '{cron: "30 6 2 3 *"}',
)
FOLDERS = ("jobs/", "jobs/a/", "jobs/a b/", "jobs/é'\"/")  # names that somebody has to quote
_RAN = ("status", "source_path", "source_sha256", "task_sha256", "revision", "dirty", "generation")


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which the files stood still and a pass had seen them."""

    begin: datetime
    end: datetime
    tree: Tree
    head: str
    states: dict[str, State]


class People:
    """They edit one tree of files, by chance and by the rules of nobody."""

    def __init__(self, rng: random.Random, files: dict[str, str]) -> None:
        self.rng = rng
        self.files = files
        self.sound = dict(files)  # each file's last text without a fault
        self._count = 0
        self._done: set[str] = set()

    # -- what there is ---------------------------------------------------------------------------

    def _job_files(self, *, sound: bool | None = True, suffix: str = "") -> list[str]:
        found = []
        for path, text in sorted(self.files.items()):
            if path.startswith("jobs/") and path != "jobs/keeper.yaml" and path.endswith(suffix):
                file = read(path, text.encode())
                good = bool(file.docs) and all(doc.definition is not None for doc in file.docs)
                if sound is None or good == sound:
                    found.append(path)
        return found

    def _prompts(self) -> list[str]:
        return [path for path in sorted(self.files) if path.startswith("prompts/")]

    def _fresh(self, suffix: str, folder: str = "") -> str:
        self._count += 1
        folder = folder or self.rng.choice(FOLDERS)
        return f"{folder}f{self._count}-{self.rng.randrange(10_000)}{suffix}"

    def _said(self) -> str:
        return " ".join(self.rng.choice(("look", "at", "all", "mail", "and", "sum", "up", "sixty")) for _ in range(6))

    # -- documents -------------------------------------------------------------------------------

    def _document(self, job_id: str, source: str) -> str:
        return f'id: {job_id}\nname: "{self._said()}"\nschedule: {self.rng.choice(SCHEDULES)}\n{source}'

    def _join(self, parts: list[str]) -> str:
        return "---\n".join(parts)

    def _split(self, text: str) -> list[str]:
        return text.split("---\n")

    def add(self) -> None:
        taken = {doc.id for path, text in self.files.items() for doc in read(path, text.encode()).docs}
        if len(taken) > 14:
            return self.delete()
        known = [f"job-{n}" for n in range(20)]  # few: an id that was archived comes back
        job_id = self.rng.choice([each for each in known if each not in taken])
        kind = self.rng.choice(("md", "inline", "path"))
        if kind == "md":
            self.files[self._fresh(".md")] = f"---\n{self._document(job_id, '')}---\n{self._said()}\n"
        elif kind == "inline":
            self.files[self._fresh(".yaml")] = self._document(job_id, f'task: "{self._said()}"\n')
        else:
            prompt = self.rng.choice([*self._prompts(), f"prompts/{job_id}.md"])
            self.files.setdefault(prompt, self._said() + "\n")
            self.files[self._fresh(".yaml")] = self._document(job_id, f"task_source_path: {prompt}\n")

    def edit(self) -> None:
        path = self.rng.choice(self._job_files())
        lines = self.files[path].splitlines(keepends=True)
        places = [n for n, line in enumerate(lines) if line.startswith(("name: ", "schedule: ", "task: "))]
        n = self.rng.choice(places)
        key = lines[n].partition(":")[0]
        lines[n] = f"{key}: " + (self.rng.choice(SCHEDULES) if key == "schedule" else f'"{self._said()}"') + "\n"
        self.files[path] = "".join(lines)

    def toggle(self) -> None:
        path = self.rng.choice(self._job_files())
        text = self.files[path]
        if "enabled: false\n" in text:
            self.files[path] = text.replace("enabled: false\n", "", 1)
        else:
            self.files[path] = text.replace("\nname:", "\nenabled: false\nname:", 1)

    def comment(self) -> None:
        """A change that moves lines and changes nothing."""
        path = self.rng.choice(self._job_files())
        text = self.files[path]
        self.files[path] = text.replace("id: ", f"# {self._said()}\nid: ", 1)

    def edit_prompt(self) -> None:
        path = self.rng.choice(self._prompts())
        self.files[path] = self._said() + "\n"

    def edit_body(self) -> None:
        paths = self._job_files(suffix=".md")
        if not paths:
            return self.edit_prompt()
        path = self.rng.choice(paths)
        front = self.files[path].split("---\n")[1]
        self.files[path] = f"---\n{front}---\n{self._said()}\n"

    # -- files -----------------------------------------------------------------------------------

    def rename(self) -> None:
        path = self.rng.choice(self._job_files(sound=None))
        self.files[self._fresh(Path(path).suffix)] = self.files.pop(path)

    def rename_prompt(self) -> None:
        path = self.rng.choice(
            [each for each in self._prompts() if each != "prompts/keeper.md"] or ["prompts/other.md"]
        )
        self._count += 1
        new = f"prompts/p{self._count}-{self.rng.randrange(10_000)}.md"
        self.files[new] = self.files.pop(path, "Nobody's.\n")
        for each, text in self.files.items():
            if each.startswith("jobs/"):
                self.files[each] = text.replace(f"task_source_path: {path}\n", f"task_source_path: {new}\n")

    def join(self) -> None:
        paths = self._job_files(suffix=".yaml")
        if len(paths) < 2:
            return self.add()
        chosen = self.rng.sample(paths, min(len(paths), self.rng.choice((2, 2, 3))))
        parts = [part for path in chosen for part in self._split(self.files.pop(path))]
        self.files[self.rng.choice([self._fresh(".yaml"), chosen[0]])] = self._join(parts)

    def split(self) -> None:
        paths = [path for path in self._job_files(suffix=".yaml") if "---\n" in self.files[path]]
        if not paths:
            return self.join()
        path = self.rng.choice(paths)
        parts = self._split(self.files.pop(path))
        if self.rng.random() < 0.5:
            self.files[path] = parts.pop()
        for part in parts:
            self.files[self._fresh(".yaml")] = part

    def delete(self) -> None:
        paths = self._job_files(sound=None)
        path = self.rng.choice(paths)
        parts = self._split(self.files.pop(path))
        if path.endswith(".yaml") and len(parts) > 1 and self.rng.random() < 0.5:
            self.files[path] = self._join(parts[1:])

    def delete_many(self) -> None:
        paths = self._job_files(sound=None)
        for path in self.rng.sample(paths, len(paths) * 2 // 3):
            del self.files[path]

    # -- faults ----------------------------------------------------------------------------------

    def duplicate(self) -> None:
        path = self.rng.choice(self._job_files(sound=None))
        self.files[self._fresh(Path(path).suffix)] = self.files[path]

    def _break(self, broken: Callable[[str], str], suffix: str = "") -> None:
        paths = self._job_files(suffix=suffix)
        if paths:
            path = self.rng.choice(paths)
            self.sound[path] = self.files[path]
            self.files[path] = broken(self.files[path])

    def break_syntax(self) -> None:
        self._break(lambda text: text.replace("schedule: ", "schedule: {every: [", 1))

    def break_key(self) -> None:
        self._break(lambda text: text.replace("\nname: ", "\nnmae: ", 1))

    def break_id(self) -> None:
        self._break(lambda text: text.replace("id: ", "id: Not ", 1))

    def empty(self) -> None:
        self._break(lambda text: self.rng.choice(("", "# to be written\n")), ".yaml")

    def empty_markdown(self) -> None:
        self._break(lambda text: self.rng.choice(("", "All of it is prose by now.\n")), ".md")

    def lose_fence(self) -> None:
        self._break(lambda text: text.removeprefix("---\n"), ".md")

    def open_fence(self) -> None:
        self._break(lambda text: text.replace("---\n", "", 2).join(("---\n", "")), ".md")

    def mark(self) -> None:
        """A merge that somebody has committed as git left it."""
        half = "<<<<<<< HEAD\n{}=======\n{}>>>>>>> theirs\n"
        self._break(lambda text: half.format(text, text.replace("name: ", "name: x")))

    def mark_prompt(self) -> None:
        path = self.rng.choice(self._prompts())
        if path != "prompts/keeper.md":
            self.sound[path] = self.files[path]
            self.files[path] = f"<<<<<<< HEAD\n{self.files[path]}=======\nno\n>>>>>>> theirs\n"

    def lose_prompt(self) -> None:
        path = self.rng.choice(self._prompts())
        if path != "prompts/keeper.md":
            self.sound[path] = self.files.pop(path)

    def break_root(self) -> None:
        self.files["scheduler.yaml"] = "version: [\n"

    def mend(self) -> None:
        """All that is broken, or a part of it."""
        bad = self._job_files(sound=False)
        bad += [path for path in self._prompts() if conflicted(self.files[path].encode())]
        bad += [path for path in self.sound if path.startswith("prompts/") and path not in self.files]
        for path in self.rng.sample(bad, self.rng.randint(0, len(bad))):
            if path in self.sound and not conflicted(self.sound[path].encode()):
                self.files[path] = self.sound[path]
            else:
                self.files.pop(path, None)
        copies: Counter[str] = Counter()
        for path in self._job_files():
            docs = read(path, self.files[path].encode()).docs
            copies.update(str(doc.id) for doc in docs)
            if self.rng.random() < 0.7 and all(copies[str(doc.id)] > 1 for doc in docs):
                del self.files[path]
        self.files["scheduler.yaml"] = ROOT

    def doings(self) -> list[tuple[int, Callable[[], None]]]:
        return [
            (6, self.add),
            (6, self.edit),
            (2, self.toggle),
            (2, self.comment),
            (5, self.edit_prompt),
            (3, self.edit_body),
            (6, self.rename),
            (2, self.rename_prompt),
            (4, self.join),
            (4, self.split),
            (3, self.delete),
            (1, self.delete_many),
            (3, self.duplicate),
            (2, self.break_syntax),
            (2, self.break_key),
            (2, self.break_id),
            (2, self.empty),
            (2, self.empty_markdown),
            (1, self.lose_fence),
            (1, self.open_fence),
            (2, self.mark),
            (1, self.mark_prompt),
            (1, self.lose_prompt),
            (1, self.break_root),
            (9, self.mend),
        ]

    def do_one(self) -> str:
        doings = self.doings()
        # What nobody has done yet comes first: a short history has most of it as well.
        ((_, do),) = self.rng.choices(
            doings, [weight if do.__name__ in self._done else 6 * weight for weight, do in doings]
        )
        if not self._job_files():
            do = self.add
        self._done.add(do.__name__)
        do()
        return do.__name__


class History:
    """One root that is followed, one clone in which commits are made, and what has to come of it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = World(folder)
        self.root, self.clone = self.world.root, folder / "clone"
        self.did: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.windows: list[Window] = []
        self.commits: list[str] = []
        self.contents: dict[tuple[str, str], bytes] = {}  # all that ever stood on disk
        self.compared = 0
        self._seen: dict[str, dict[str, Any]] = {}
        self._rows: dict[tuple[str, int], dict[str, Any]] = {}
        self._synced_at: str | None = None  # the commit that a pass has taken in whole, without a fault
        files = {"scheduler.yaml": ROOT, "jobs/keeper.yaml": KEEPER, ".gitignore": ".scheduler/\n"}
        files |= {"prompts/keeper.md": "Stay.\n", "prompts/other.md": "Shared by many.\n"}
        self.people = People(self.rng, files)
        for _ in range(8):
            self.people.add()
        self._git(folder, "init", "-q", "--template=", str(self.root))
        self._save(self.root)
        self._commit(self.root, "start")
        self._git(folder, "clone", "-q", "--template=", str(self.root), str(self.clone))
        self.fold = Fold(Tree({}))
        self._look()
        self.daemon: Daemon = self.world.serve()

    def close(self) -> None:
        self.world.close()

    # -- git and files ---------------------------------------------------------------------------

    def _git(self, folder: Path, *args: str, ok: bool = True) -> str:
        found = subprocess.run(["git", "-C", folder, *args], check=False, capture_output=True, text=True)
        assert found.returncode == 0 or not ok, (args, found.stdout, found.stderr)
        return found.stdout.strip() if found.returncode == 0 else "failed"

    def _files(self, folder: Path) -> dict[str, bytes]:
        paths = [folder / "scheduler.yaml", *folder.glob("jobs/**/*"), *folder.glob("prompts/*")]
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in paths
            if path.is_file() and not path.name.startswith(".")
        }

    def _save(self, folder: Path) -> None:
        """One file after the other, each in one instant."""
        there = {path: data.decode() for path, data in self._files(folder).items()}
        changes = sorted(path for path in self.people.files if there.get(path) != self.people.files[path])
        gone = sorted(there.keys() - self.people.files.keys())
        order = [*changes, *gone]
        self.rng.shuffle(order)
        for path in order:
            if path in gone:
                (folder / path).unlink()
                continue
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            beside = (folder / path).with_name(f".{Path(path).name}.new")
            beside.write_text(self.people.files[path])
            beside.replace(folder / path)

    def _load(self, folder: Path) -> None:
        self.people.files = {path: data.decode() for path, data in self._files(folder).items()}
        self.people.files[".gitignore"] = ".scheduler/\n"

    def _commit(self, folder: Path, subject: str) -> None:
        self._git(folder, "add", "-A")
        self._git(folder, "commit", "-q", "--allow-empty", "-m", subject)

    def _look(self) -> None:
        """The files of the root are others now."""
        files = self._files(self.root)
        self.contents |= {(path, sha256(data)): data for path, data in files.items()}
        self.fold.change(files)

    @property
    def head(self) -> str:
        return self._git(self.root, "rev-parse", "HEAD")

    # -- what happens ----------------------------------------------------------------------------

    def live(self, commits: int) -> None:
        """So many commits, and at the end the judgement of all rows."""
        self.wait()
        while not self.wrong and int(self._git(self.root, "rev-list", "--count", "HEAD")) < commits:
            self._turn()
        self.wait(linger=True)
        self.daemon.stop()
        self.judge()

    def _turn(self) -> None:
        way = self.rng.choices(("direct", "pull", "merge", "revert", "back", "dirty"), (8, 8, 3, 3, 1, 4))[0]
        if way != "dirty" and self._git(self.root, "status", "--porcelain"):
            if self.rng.random() < 0.5:
                self._commit(self.root, "what was dirty")
            else:
                self._git(self.root, "checkout", "-q", "--", ".")
            self._look()
        self._load(self.root)
        before = self.fold.tree
        what = getattr(self, f"_{way}")()
        self.did.update(what)
        self._look()
        risky = "delete_many" in what or way == "back" or "break_root" in what or not before.usable
        held = any(state is not None and state.sync == "held" for each in self.fold.states.values() for state in each)
        first = way == "dirty" and self.did["dirty"] == 1  # so that a fire uses it, also in a short history
        if first or risky or held or self.rng.random() < 0.7 or max(map(len, self.fold.states.values())) > 12:
            self.wait(linger=first or self.rng.random() < (0.6 if way == "dirty" else 0.1))

    def _dirty(self) -> list[str]:
        """An edit that nobody commits."""
        if self.did["dirty"]:
            self.rng.choice((self.people.edit_prompt, self.people.edit_prompt, self.people.edit_body))()
        else:
            self.people.files["prompts/keeper.md"] = "Stay where you are.\n"
        self._save(self.root)
        return ["dirty"]

    def _direct(self) -> list[str]:
        what = self.people.do_one()
        self._save(self.root)
        self._commit(self.root, what)
        return ["direct", what]

    def _pull(self) -> list[str]:
        self._refresh()
        done = [self.people.do_one() for _ in range(1)]
        self._save(self.clone)
        self._commit(self.clone, " ".join(done))
        self._publish()
        return ["pull", *done]

    def _merge(self) -> list[str]:
        """Two branches; where they do not go together, the commit is what git has left."""
        self._refresh()
        done = []
        for branch in ("theirs", "main"):
            self._git(self.clone, "checkout", "-q", "-B", branch, "start" if branch == "theirs" else "main")
            self._load(self.clone)
            done.append(self.people.do_one())
            self._save(self.clone)
            self._commit(self.clone, done[-1])
        conflict = self._git(self.clone, "merge", "-q", "--no-edit", "theirs", ok=False) == "failed"
        if conflict:
            self._commit(self.clone, "merged as it came")
        self._publish()
        return ["merge", *done, *(["conflict"] if conflict else [])]

    def _revert(self) -> list[str]:
        self._refresh()
        n = int(self._git(self.clone, "rev-list", "--count", "--first-parent", "HEAD"))
        back = self.rng.randint(0, max(0, min(4, n - 2)))
        parents = self._git(self.clone, "rev-list", "--parents", "-n1", f"HEAD~{back}").split()
        if len(parents) < 2:
            return []
        mainline = ["-m", "1"] if len(parents) > 2 else []
        args = ("revert", "--no-edit", *mainline, f"HEAD~{back}")
        if self._git(self.clone, *args, ok=False) == "failed":
            self._git(self.clone, "revert", "--abort", ok=False)
            self._git(self.clone, "reset", "-q", "--hard")
            return []
        self._publish()
        return ["revert"]

    def _back(self) -> list[str]:
        """All files as they were some commits ago."""
        self._refresh()
        n = int(self._git(self.clone, "rev-list", "--count", "--first-parent", "HEAD"))
        self._git(self.clone, "read-tree", "-u", "--reset", f"HEAD~{self.rng.randint(0, min(6, n - 1))}")
        self._commit(self.clone, "back")
        self._publish()
        return ["back"]

    def _refresh(self) -> None:
        self._git(self.clone, "fetch", "-q", str(self.root), "main")
        self._git(self.clone, "checkout", "-q", "-f", "-B", "main", "FETCH_HEAD")
        self._git(self.clone, "tag", "-f", "start")
        self._load(self.clone)

    def _publish(self) -> None:
        self._git(self.root, "fetch", "-q", str(self.clone), "main")
        base = self._synced_at
        new = self._git(self.root, "rev-parse", "FETCH_HEAD")
        planned = None
        if base is not None and base == self.head:
            planned = call("--root", str(self.root), "plan", "--base", base, "--head", new, "--json").json
        self._git(self.root, "merge", "-q", "--ff-only", "FETCH_HEAD")
        if planned is not None:
            self._look()
            before, found = self._seen, self._sync()
            self.observe(linger=False)
            self._compare(planned, found, before, f"plan --base {base} --head {new}")

    def _compare(self, planned: Any, synced: Any, before: dict[str, dict[str, Any]], command: str) -> None:
        """The review of a commit names what a pass over it names, and says what becomes of the jobs."""

        def errors(found: Any) -> list[tuple[Any, ...]]:
            wrong = [each for each in found["problems"] if each["severity"] == "error"]
            return sorted((each["path"], each["line"], each["column"], each["code"]) for each in wrong)

        old = {job_id: job["source_path"] for job_id, job in before.items() if not job["archived_at"]}
        new = {job_id: job["source_path"] for job_id, job in self._seen.items() if not job["archived_at"]}
        both = old.keys() & new.keys()
        for what, said, found in (
            ("problems", errors(planned), errors(synced)),
            ("created", {*planned["created"]}, new.keys() - old.keys()),
            ("archived", {*planned["archived"]}, old.keys() - new.keys()),
            ("moved", {each["id"] for each in planned["moved"]}, {each for each in both if old[each] != new[each]}),
            (
                "updated",
                {each["id"] for each in planned["updated"]},
                {each for each in both if before[each]["generation"] != self._seen[each]["generation"]},
            ),
        ):
            if said != found:
                self.wrong.append(f"{command}: {what} are {said}, and in the database {found}")
        self.compared += 1

    # -- what is seen ----------------------------------------------------------------------------

    def _call(self, *args: str) -> Result:
        return call("--root", str(self.root), *args)

    def _sync(self) -> Any:
        found = self._call("sync", "--json")
        assert found.code in (0, 1, 3), found
        self.fold.settle()
        return found.json

    def wait(self, *, linger: bool = False) -> None:
        if not self.daemon.lines:
            self.daemon.says(" serving root=")
        self._sync()
        self.observe(linger=linger)

    def observe(self, *, linger: bool) -> None:
        """What a pass that has seen all files has made of them. linger: until a fire has used them as well."""
        begin = datetime.now(UTC)
        head, tree = self.head, self.fold.tree
        listed = self._call("list", "--json").json
        stored = {row["id"]: row for row in self.world.rows("SELECT * FROM jobs")}
        seen, said = {}, []
        for job in listed["jobs"]:
            seen[job["id"]] = self._state(job, stored[job["id"]]["task_sha256"])
            said += self._grown(job)
        said += [f"{job_id} is gone" for job_id in self._seen if job_id not in seen]
        said += self.fold.observe(seen)
        for job in listed["jobs"]:
            said += self._file_facts(job, tree, head)
        duplicates = {
            (each["path"], each["line"], each["job_id"])
            for each in listed["problems"]
            if each["code"] == "id.duplicate"
        }
        if tree.usable and duplicates != self.fold.conflicts:
            said.append(f"duplicates are {duplicates}, not {self.fold.conflicts}")
        self._seen = {job["id"]: job for job in listed["jobs"]}
        said += self._conserved()
        if linger:
            fast = [
                job_id
                for job_id, state in seen.items()
                if state.sync == "synced" and state.definition.enabled and state.definition.schedule == "every: 1s"
            ]
            for job_id in fast:
                until(
                    lambda job_id=job_id: any(  # type: ignore[misc]
                        row["fire_time"] and row["finished_at"] and datetime.fromisoformat(row["fire_time"]) > begin
                        for row in self.world.runs(job_id)[-3:]
                    ),
                    f"a fire of {job_id}",
                )
        self.windows.append(Window(begin, datetime.now(UTC), tree, head, seen))
        clean = tree.usable and all(each["severity"] != "error" for each in listed["problems"])
        clean = clean and all(state.sync in ("synced", "archived") for state in seen.values())
        self._synced_at = head if clean and not self._git(self.root, "status", "--porcelain") else None
        if said:
            log = self._git(self.root, "log", "-3", "--stat", "--oneline")
            self.wrong += [f"at {head[:8]} after {dict(self.did)}:\n{log}", *said]

    def _state(self, job: dict[str, Any], task_sha: str) -> State:
        schedule = job["schedule"]
        if "cron" in schedule:
            when = f'cron: "{schedule["cron"]}"'
        else:
            seconds = schedule["every_ms"] // 1000
            when = f"every: {seconds // 3600}h" if seconds >= 3600 else f"every: {seconds}s"
        jitter = schedule.get("jitter_ms", 0) // 1000
        before = self._seen.get(job["id"])
        return State(
            path=job["source_path"],
            line=job["source_line"],
            generation=job["generation"],
            definition=Definition(
                name=job["name"],
                schedule=when,
                jitter=f"{jitter}s" if jitter else "",
                enabled=job["enabled"],
                task_path=job["task_source_path"],
            ),
            task_sha=task_sha,
            sync=job["sync_state"],
            restarted=before is None or before["activated_at"] != job["activated_at"],
        )

    def _grown(self, job: dict[str, Any]) -> list[str]:
        """What no pass may take back (S1, S2)."""
        before = self._seen.get(job["id"])
        if before is None:
            return []
        said = [
            f"{job['id']}: {key} was {before[key]!r}" for key in ("created_at", "created_by") if before[key] != job[key]
        ]
        said += [
            f"{job['id']}: {key} went from {before[key]} to {job[key]}"
            for key in ("run_count", "generation", "activated_at")
            if before[key] > job[key]
        ]
        slow = job["schedule"].get("every_ms") != 1000
        unmoved = before["activated_at"] == job["activated_at"] and not job["archived_at"] and not before["archived_at"]
        if slow and unmoved and before["enabled"] == job["enabled"] and before["next_run_at"] != job["next_run_at"]:
            said.append(f"{job['id']}: its next fire was moved from {before['next_run_at']} to {job['next_run_at']}")
        return said

    def _file_facts(self, job: dict[str, Any], tree: Tree, head: str) -> list[str]:
        if job["sync_state"] != "synced" or not tree.usable:
            return []
        said = []
        path = job["source_path"]
        (doc,) = [doc for doc in tree.docs[job["id"]] if doc.path == path and doc.line == job["source_line"]]
        _, text = tree.source(doc)
        if job["task_sha256"] != (None if text is None else sha256(text)):
            said.append(f"{job['id']}: task_sha256 is {job['task_sha256']}, not that of its text on disk")
        blob = self._blob(head, path)
        dirty = "untracked" if blob is None else None if blob == tree.files[path] else "modified"
        if job["dirty"] != dirty:
            said.append(f"{job['id']}: dirty is {job['dirty']}, not {dirty}")
        if job["dirty"] is None:
            then = self._blob(job["revision"], path)
            docs = () if then is None else read(path, then).docs
            if not any(each.id == job["id"] and each.definition == doc.definition for each in docs):
                said.append(f"{job['id']}: at its revision {job['revision']} its file says something else")
            task = doc.definition.task_path if doc.definition is not None else None
            if (
                task is not None
                and text is not None
                and self._blob(head, task) == text != self._blob(job["revision"], task)
            ):
                said.append(f"{job['id']}: at its revision {job['revision']} its task {task} says something else")
        return said

    def _blob(self, revision: str, path: str) -> bytes | None:
        found = subprocess.run(
            ["git", "-C", self.root, "cat-file", "blob", f"{revision}:{path}"], check=False, capture_output=True
        )
        return found.stdout if found.returncode == 0 else None

    def _conserved(self) -> list[str]:
        """No row of the ledger is lost, and none that has ended is changed."""
        rows = {(row["job_id"], row["n"]): dict(row) for row in self.world.rows("SELECT * FROM runs")}
        said = [f"run {key} is gone" for key in self._rows if key not in rows]
        said += [
            f"run {key} was {row} and is {rows[key]}"
            for key, row in self._rows.items()
            if key in rows and row["finished_at"] and row["status"] != "skipped" and rows[key] != row
        ]
        self._rows = rows
        return said

    # -- the end ---------------------------------------------------------------------------------

    def judge(self) -> None:
        self.wrong += self._conserved()
        known = set(self._git(self.root, "rev-list", "HEAD").split())
        numbers: dict[str, list[int]] = {}
        for (job_id, n), row in sorted(self._rows.items()):
            numbers.setdefault(job_id, []).append(n)
            if row["source_sha256"] is not None:
                self.wrong += [f"run {job_id}#{n}: {each}" for each in self._judge_run(row, known)]
        for job_id, found in numbers.items():
            if found != list(range(1, len(found) + 1)):
                self.wrong.append(f"{job_id} has the runs {found}")
        for job_id, count in self.world.rows("SELECT id, run_count FROM jobs"):
            ran = sum(each["started_at"] is not None for each in self._rows.values() if each["job_id"] == job_id)
            if ran != count:
                self.wrong.append(f"{job_id} counts {count} runs and has {ran}")
        for window in self.windows:
            self._judge_window(window)

    def _judge_run(self, row: dict[str, Any], known: set[str]) -> list[str]:
        said = []
        path, sha = row["source_path"], row["source_sha256"]
        if row["revision"] not in known:
            return [f"its revision {row['revision']} is none of the history"]
        blob = self._blob(row["revision"], path)
        self.did[f"run {row['dirty']}"] += 1
        data = blob
        if row["dirty"] is None:
            if blob is None or sha256(blob) != sha:
                said.append(f"{row['revision']}:{path} is not what it says it ran, {sha}")
        else:
            data = self.contents.get((path, sha))
            if data is None:
                said.append(f"{sha} never stood in {path}")
            expected = "untracked" if blob is None else "modified"
            if row["dirty"] != expected or (blob is not None and sha256(blob) == sha):
                said.append(f"it is called {row['dirty']}, and {row['revision']} has {blob!r}")
        if data is not None:
            if path.startswith("prompts/"):
                shas = {sha}
            else:
                texts = [doc.text for doc in read(path, data).docs if doc.id == row["job_id"] and doc.text is not None]
                shas = {sha256(text) for text in texts}
            if row["task_sha256"] not in shas:
                said.append(f"task_sha256 {row['task_sha256']} is not that of the text in {path}")
        kept = self.world.rows("SELECT bytes FROM texts WHERE sha256 = ?", row["task_sha256"])
        if not kept or sha256(kept[0]["bytes"]) != row["task_sha256"]:
            said.append(f"the text {row['task_sha256']} that it ran is not kept")
        return said

    def _judge_window(self, window: Window) -> None:
        """While the files stand still, a fire has one possible outcome."""
        for (job_id, n), row in self._rows.items():
            if not row["fire_time"] or not row["finished_at"]:
                continue
            if datetime.fromisoformat(row["fire_time"]) <= window.begin or (
                datetime.fromisoformat(row["finished_at"]) >= window.end
            ):
                continue
            if row["reason"] == "overlap":
                continue  # a fire waits for a second after a save, and the next may find it under way (F2)
            state = window.states.get(job_id)
            if state is None or state.sync != "synced" or not window.tree.usable:
                continue
            (doc,) = [doc for doc in window.tree.docs[job_id] if doc.path == state.path and doc.line == state.line]
            path, text = window.tree.source(doc)
            found: tuple[Any, ...]
            expected: tuple[Any, ...]
            if text is None:
                found, expected = (row["status"], str(row["reason"])[:7]), ("skipped", "source_")
            else:
                data = window.tree.files[path]
                blob = self._blob(window.head, path)
                dirty = "untracked" if blob is None else None if blob == data else "modified"
                found = tuple(
                    row[key]
                    for key in (
                        "status",
                        "source_path",
                        "source_sha256",
                        "task_sha256",
                        "revision",
                        "dirty",
                        "generation",
                    )
                )
                expected = ("succeeded", path, sha256(data), sha256(text), window.head, dirty, state.generation)
            self.did["fire while nothing changed"] += 1
            if found != expected:
                self.wrong.append(f"run {job_id}#{n} at {row['fire_time']} is {found}, not {expected}")
