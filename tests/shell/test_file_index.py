"""The index of files: what a stat vouches for, what it does not, and that nothing is lost if the index is wrong."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.due.due import start_of
from scheduler.core.formats import jobfile
from scheduler.core.plan.desired import Desired
from scheduler.core.values.facts import Job, SyncState
from scheduler.git.tree import Commits
from scheduler.ledger import audit, files, queries, schema, syncs
from scheduler.ledger.store import Store
from scheduler.root import scan
from scheduler.root.desired import read_desired
from scheduler.root.place import Place
from scheduler.sync.index import DEEP_PASSES
from scheduler.sync.passes import Deep, Passes
from scheduler.sync.synced import SyncReport
from tests.fakes import FakeClock
from tests.helpers import ROOT_FILE, git

NAMES = ("a", "b", "c")


class Files:
    """One root with jobs a, b and c. c has its task in a file of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.place = Place(root=root, state=root / ".scheduler", db=root / ".scheduler/state.db")
        self.place.make_state()
        self.parsed: list[str] = []
        (root / "jobs").mkdir()
        (root / "prompts").mkdir()
        (root / "scheduler.yaml").write_text(ROOT_FILE)
        (root / "prompts/c.md").write_text("say it")
        for name in NAMES:
            self.path(name).write_text(self.text(name))
        self.store = Store.open(self.place.db)
        self.passes = self.process()

    def process(self) -> Passes:
        return Passes(place=self.place, clock=FakeClock(), commits=Commits())

    def path(self, name: str) -> Path:
        return self.root / f"jobs/{name}.yaml"

    def text(self, name: str, title: str = "first") -> str:
        task = "task_source_path: prompts/c.md" if name == "c" else "task: hi"
        return f"id: {name}\nname: {title}\nschedule: {{every: 1h}}\n{task}\n"

    def sync(self, *, deep: Deep = "", passes: Passes | None = None) -> SyncReport:
        self.parsed.clear()
        found = (passes or self.passes).sync(self.store, actor="user:test", cause="test", deep=deep)
        assert not found.held
        return found.report()

    def job(self, name: str) -> Job:
        job = self.store.read(queries.job, name)
        assert job is not None
        return job

    def title(self, name: str) -> str:
        return self.job(name).file.spec.name

    @property
    def known(self) -> set[str]:
        return {path for _, path, *_ in self.store.read(files.blobs)}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Files]:
    root = tmp_path.resolve() / "root"
    root.mkdir()
    found = Files(root)
    read = jobfile.read_job_file

    def counted(path: str, data: bytes, settings: object) -> jobfile.JobFile:
        found.parsed.append(path)
        return read(path, data, settings)  # type: ignore[arg-type]

    monkeypatch.setattr(jobfile, "read_job_file", counted)
    yield found
    found.store.close()


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks are trusted however young: the tests write files in the very moment before they are read."""
    monkeypatch.setattr(scan.Grain, "is_young", lambda self, mark: False)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that counts whole seconds."""

    def pack(size: int, mtime: int, ctime: int, inode: int) -> bytes:
        return scan._MARK.pack(size, mtime // 10**9 * 10**9, ctime // 10**9 * 10**9, inode)

    monkeypatch.setattr(scan, "_pack", pack)


# -- what need not be read ---------------------------------------------------------------------


def test_a_restart_parses_nothing_that_has_not_changed(here: Files) -> None:
    assert here.sync().json["created"] == list(NAMES)
    assert sorted(here.parsed) == [f"jobs/{name}.yaml" for name in NAMES]
    found = here.sync(passes=here.process())
    assert (found.nothing_to_do, found.json["unchanged"], here.parsed) == (True, 3, [])
    assert here.known == {*(f"jobs/{name}.yaml" for name in NAMES), "prompts/c.md"}


@pytest.mark.usefixtures("trusting")
def test_only_what_differs_is_parsed(here: Files) -> None:
    here.sync()
    here.path("b").write_text(here.text("b", "second"))
    assert here.sync().json["updated"][0]["id"] == "b"
    assert here.parsed == ["jobs/b.yaml"]
    (here.root / "prompts/c.md").write_text("say more")
    assert [each["id"] for each in here.sync().json["task_changed"]] == ["c"]
    assert here.parsed == ["jobs/c.yaml"]


def test_a_file_that_was_only_touched_is_not_parsed(here: Files) -> None:
    here.sync()
    os.utime(here.path("a"))
    shutil.copy(here.path("b"), here.root / "copy")
    (here.root / "copy").replace(here.path("b"))
    assert (here.sync().nothing_to_do, here.parsed) == (True, [])


def test_new_settings_are_applied_to_every_file(here: Files) -> None:
    here.sync()
    (here.root / "scheduler.yaml").write_text(ROOT_FILE.replace("{runner: cat}", "{runner: cat, timeout: 5m}"))
    assert [each["id"] for each in here.sync(passes=here.process()).json["updated"]] == list(NAMES)
    assert set(here.parsed) >= {f"jobs/{name}.yaml" for name in NAMES}
    assert (here.sync().nothing_to_do, here.parsed) == (True, [])


def test_what_is_wrong_is_read_again_and_what_is_doubtful_is_told_without(here: Files) -> None:
    here.path("a").write_text("id: [\n")
    here.path("b").write_text(here.text("b").replace("hi", "hi\N{ZERO WIDTH SPACE}"))
    told = [(each.path, each.code) for each in here.sync().problems]
    assert told == [("jobs/a.yaml", "yaml.syntax"), ("jobs/b.yaml", "text.hidden")]
    again = here.sync(passes=here.process())
    assert [(each.path, each.code) for each in again.problems] == told
    assert here.parsed == ["jobs/a.yaml"]
    assert [(each.path, each.code) for each in here.store.read(syncs.problems)] == told


# -- edits that hide ---------------------------------------------------------------------------


def in_place(path: Path, text: str) -> None:
    path.write_text(text)


def with_its_old_time(path: Path, text: str) -> None:
    before = path.stat()
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def copied_with_times(path: Path, text: str) -> None:
    other = path.parent.parent / "other"
    other.write_text(text)
    shutil.copystat(path, other)
    shutil.copy2(other, path)  # as `cp -p`


def renamed_with_times(path: Path, text: str) -> None:
    other = path.parent / ".other"
    other.write_text(text)
    shutil.copystat(path, other)
    other.replace(path)  # as `rsync -t`


def touched_into_the_past(path: Path, text: str) -> None:
    path.write_text(text)
    subprocess.run(["touch", "-d", "2001-01-01", path], check=True)


def touched_into_the_future(path: Path, text: str) -> None:
    path.write_text(text)
    subprocess.run(["touch", "-d", "2100-01-01", path], check=True)


EDITS = (in_place, with_its_old_time, copied_with_times, renamed_with_times, touched_into_the_past,
         touched_into_the_future)  # fmt: skip


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_seen_whatever_its_time_and_size(here: Files, edit: Callable[[Path, str], None]) -> None:
    here.sync()
    edit(here.path("a"), here.text("a", "other"))  # as long as before
    edit(here.root / "prompts/c.md", "SAY IT")
    here.sync()
    assert here.title("a") == "other"
    assert here.parsed == ["jobs/a.yaml", "jobs/c.yaml"]


@pytest.mark.usefixtures("coarse")
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_within_one_tick_of_a_scan_is_seen(here: Files, edit: Callable[[Path, str], None]) -> None:
    for title in ("second", "2econd", "3econd", "4econd"):  # equal in size, and mostly in time
        edit(here.path("a"), here.text("a", title))
        edit(here.root / "prompts/c.md", title)
        here.sync()
        assert here.title("a") == title
        task = here.job("c").file.task_sha256
        edit(here.root / "prompts/c.md", title.upper())
        here.sync(passes=here.process())
        assert here.job("c").file.task_sha256 != task


@pytest.mark.usefixtures("trusting")
def test_a_file_swapped_for_a_link_and_a_folder_swapped_for_a_link_are_seen(here: Files) -> None:
    here.sync()
    (here.root / "more").mkdir()
    here.path("a").rename(here.root / "more/a.yaml")
    here.path("a").symlink_to("../more/a.yaml")
    assert here.sync().json["moved"] == [{"id": "a", "from": "jobs/a.yaml", "to": "more/a.yaml"}]
    (here.root / "more/a.yaml").write_text(here.text("a", "through a link"))
    here.sync()
    assert here.title("a") == "through a link"
    (here.root / "prompts").rename(here.root.parent / "prompts")  # the same files, but outside of the root now
    (here.root / "prompts").symlink_to(here.root.parent / "prompts")
    assert [each.code for each in here.sync().problems] == ["task.unreadable"]


# -- an index that is wrong, lost, or behind ---------------------------------------------------


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("lie", ["of a job file", "of a task", "of what was applied"])
def test_an_index_that_lies_is_found_out_within_an_hour(here: Files, lie: str) -> None:
    here.sync()
    with here.store.writing() as sql:
        if lie == "of what was applied":  # the bytes are those of the index, but not those in force
            sql.execute("UPDATE jobs SET file_sha256 = 'other' WHERE id = 'a'")
        else:
            path = here.path("a") if lie == "of a job file" else here.root / "prompts/c.md"
            path.write_text(here.text("a", "unseen") if lie == "of a job file" else "unseen")
            mark = scan.mark_file(str(path))
            sql.execute("UPDATE files SET mark = ? WHERE path = ?", (mark, str(path.relative_to(here.root))))
    passes, task = here.process(), here.job("c").file.task_sha256
    assert here.sync(passes=passes).nothing_to_do, "a stat says that nothing has changed"
    found = [here.sync(passes=passes, deep="some").nothing_to_do for _ in range(DEEP_PASSES)]
    assert found.count(False) == 1
    assert here.title("a") == ("unseen" if lie == "of a job file" else "first")
    assert here.job("a").file.file_sha256 != "other"
    assert (here.job("c").file.task_sha256 != task) == (lie == "of a task")


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize("is_local", [True, False])
def test_whoever_asks_for_a_sync_gets_every_file_read_where_a_stat_cannot_be_relied_on(
    here: Files, monkeypatch: pytest.MonkeyPatch, is_local: bool
) -> None:
    here.sync()
    here.path("a").write_text(here.text("a", "unseen"))  # as behind the cache of a network file system
    with here.store.writing() as sql:
        sql.execute("UPDATE files SET mark = ? WHERE path = 'jobs/a.yaml'", (scan.mark_file(str(here.path("a"))),))
    monkeypatch.setattr(scan.Grain, "is_fine", is_local)
    here.sync(passes=here.process(), deep="all unless local")
    assert here.title("a") == ("first" if is_local else "unseen")


@pytest.mark.usefixtures("trusting")
def test_a_pass_that_dies_before_it_commits_leaves_the_index_as_it_was(
    here: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.sync()
    here.path("a").write_text(here.text("a", "second"))
    here.path("b").unlink()
    with monkeypatch.context() as dying:
        dying.setattr("scheduler.ledger.syncs.change_files", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            here.sync()
    assert (here.title("a"), here.job("b").archived) == ("first", False)
    for passes in (here.passes, here.process()):
        here.sync(passes=passes)
        assert (here.title("a"), here.job("b").archived) == ("second", True)


def test_a_database_from_before_the_index_is_gone_on_with(here: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    here.sync()
    rows, old = here.store.read(audit.read_audit), here.place.db.with_name("old.db")
    with monkeypatch.context() as before:
        known = schema.migrations()
        before.setattr(schema, "migrations", lambda: known[:10])
        schema.create_database(old)
    sql = sqlite3.connect(old)
    sql.execute("ATTACH ? AS new", (str(here.place.db),))
    sql.execute("DELETE FROM root")
    for table in ("definitions", "jobs", "audit", "root"):
        columns = ", ".join(f'"{row[1]}"' for row in sql.execute(f"PRAGMA main.table_info({table})"))
        sql.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
    sql.commit()
    sql.close()
    with Store.open(old) as store:
        passes = here.process()
        here.parsed.clear()
        for parsed in (3, 0):
            assert passes.sync(store, actor="user:test", cause="test").plan.nothing_to_do
            assert len(here.parsed) == parsed
            here.parsed.clear()
        assert store.read(audit.read_audit) == rows


# -- git ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("trusting")
def test_a_commit_of_what_is_applied_already_is_told_without_parsing_the_rest(here: Files) -> None:
    git(here.root, "init", "-q", "-b", "main")
    (here.root / ".gitignore").write_text(".scheduler\n")
    here.sync()
    assert here.job("a").file.dirty == "untracked"
    git(here.root, "add", ".")
    git(here.root, "commit", "-q", "-m", "all")
    here.sync()
    assert {here.job(name).file.dirty for name in NAMES} == {None}
    here.path("b").write_text(here.text("b", "second"))
    here.sync()
    assert (here.job("a").file.dirty, here.job("b").file.dirty) == (None, "modified")
    git(here.root, "commit", "-q", "-a", "-m", "b")
    here.sync()
    head = git(here.root, "rev-parse", "HEAD")
    assert (here.job("b").file.dirty, here.job("b").file.revision) == (None, head)
    assert here.job("a").file.revision != head, "a commit that does not touch a job is no news for it"
    assert here.parsed == ["jobs/b.yaml"]
    assert (here.sync(passes=here.process()).nothing_to_do, here.parsed) == (True, [])


def test_a_commit_that_moves_a_job_and_changes_the_settings_loses_nothing(here: Files) -> None:
    git(here.root, "init", "-q", "-b", "main")
    git(here.root, "add", "jobs", "prompts", "scheduler.yaml")
    git(here.root, "commit", "-q", "-m", "all")
    here.sync()
    (here.root / "jobs/team").mkdir()
    git(here.root, "mv", "jobs/a.yaml", "jobs/team/a.yaml")
    (here.root / "scheduler.yaml").write_text(ROOT_FILE + "timezone: Europe/Berlin\n")
    git(here.root, "commit", "-q", "-a", "-m", "moved")
    found = here.sync()
    assert found.json["moved"] == [{"id": "a", "from": "jobs/a.yaml", "to": "jobs/team/a.yaml"}]
    assert found.problems == ()


def test_a_file_that_another_process_has_read_and_that_goes_takes_its_job_along(here: Files) -> None:
    here.sync()
    here.path("d").write_text(here.text("d"))
    here.sync(passes=here.process())
    here.path("d").unlink()
    here.sync()
    assert here.job("d").archived


# -- edits alone -------------------------------------------------------------------------------


def edits(here: Files, *paths: str) -> bool:
    return here.passes.sync_edits(here.store, paths, actor="scheduler", cause="watch") is not None


def test_an_edit_of_known_files_is_applied_without_a_look_at_others(
    here: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.sync()
    here.path("a").write_text(here.text("a", "second"))
    here.path("b").write_text(here.text("b", "unseen"))
    (here.root / "prompts/c.md").write_text("say more")
    before = here.job("c").file.task_sha256
    monkeypatch.setattr("scheduler.sync.passes.find_changes", lambda *_, **__: pytest.fail("all files were looked at"))
    assert edits(here, "jobs/a.yaml", "prompts/c.md")
    assert (here.title("a"), here.title("b")) == ("second", "first")
    assert here.job("c").file.task_sha256 != before
    assert [row.cause for row in here.store.read(audit.read_audit, "a")] == ["test", "watch"]


@pytest.mark.parametrize("broken", ["", "id: [unclosed"])
def test_a_file_that_another_process_found_broken_and_that_goes_after_an_edit_takes_its_job_along(
    here: Files, broken: str
) -> None:
    here.sync()
    here.path("a").write_text(broken)
    here.sync(passes=here.process())
    here.path("b").write_text(here.text("b", "second"))
    assert edits(here, "jobs/b.yaml")
    here.path("a").unlink()
    here.sync()
    assert here.job("a").archived


@pytest.mark.usefixtures("trusting")
def test_a_task_that_changed_beside_the_edit_of_one_of_its_jobs_reaches_all_its_jobs(here: Files) -> None:
    for name in "ab":
        here.path(name).write_text(here.text(name).replace("task: hi", "task_source_path: prompts/c.md"))
    here.sync()
    old = here.job("b").file.task_sha256
    here.path("a").write_text(here.path("a").read_text().replace("first", "second"))
    (here.root / "prompts/c.md").write_text("say more")
    if not edits(here, "jobs/a.yaml"):  # before the watcher has told of the prompt
        here.sync()
    here.sync()
    new = {here.job(name).file.task_sha256 for name in "abc"}
    assert here.title("a") == "second"
    assert len(new) == 1
    assert old not in new


def other_id(here: Files) -> None:
    here.path("a").write_text(here.text("z"))


def second_job(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second") + "---\n" + here.text("z"))


def id_of_another(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second") + "---\n" + here.text("b"))


def broken(here: Files) -> None:
    here.path("a").write_text("id: [\n")


def emptied(here: Files) -> None:
    here.path("a").write_text("")


def one_key_wrong(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second") + "colour: green\n")


def gone(here: Files) -> None:
    here.path("a").unlink()


def linked(here: Files) -> None:
    here.path("a").rename(here.root / "a.yaml")
    here.path("a").symlink_to("../a.yaml")


def task_that_is_missing(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second").replace("task: hi", "task_source_path: prompts/z.md"))


def settings_changed(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second"))
    (here.root / "scheduler.yaml").write_text(ROOT_FILE + "timezone: Europe/Berlin\n")


def committed(here: Files) -> None:
    here.path("a").write_text(here.text("a", "second"))
    git(here.root, "init", "-q", "-b", "main")
    git(here.root, "add", "jobs")
    git(here.root, "commit", "-q", "-m", "a")


@pytest.mark.parametrize(
    "change",
    [other_id, second_job, id_of_another, broken, emptied, one_key_wrong, gone, linked, task_that_is_missing,
     settings_changed, committed],
)  # fmt: skip
def test_what_is_more_than_an_edit_is_left_to_a_whole_pass(here: Files, change: Callable[[Files], None]) -> None:
    here.sync()
    before = here.store.read(queries.jobs)
    change(here)
    assert not edits(here, "jobs/a.yaml")
    assert here.store.read(queries.jobs) == before
    here.sync()
    assert here.store.read(queries.jobs) != before


def test_a_new_file_is_no_edit_and_a_job_in_doubt_stays_in_doubt(here: Files) -> None:
    here.sync()
    here.path("d").write_text(here.text("d"))
    assert not edits(here, "jobs/d.yaml")
    here.path("d").write_text(here.text("a"))
    here.sync()
    assert here.job("a").file.sync_state is SyncState.CONFLICT
    here.path("a").write_text(here.text("a", "second"))
    assert not edits(here, "jobs/a.yaml")


# -- what a restart needs of the database ------------------------------------------------------


def test_starts_are_those_of_the_jobs(here: Files) -> None:
    texts = {
        "jittery": "schedule: {every: 1h, jitter: 5m}",
        "disabled": "enabled: false\nschedule: {every: 1h}",
        "manual": "schedule: manual",
        "over": 'schedule: {at: "2001-01-01T00:00:00Z"}',
        "stopped": "schedule: {every: 1h}",
        "stopping": "schedule: {every: 1h}",
    }
    for name, schedule in texts.items():
        here.path(name).write_text(f"id: {name}\n{schedule}\ntask: hi\n")
    here.sync()
    here.path("b").unlink()
    here.sync()
    with here.store.writing() as sql:
        sql.execute("UPDATE jobs SET stopped_at = activated_at WHERE id = 'stopped'")
        sql.execute("UPDATE jobs SET stopped_at = next_run_at WHERE id = 'stopping'")
    jobs = here.store.read(queries.jobs)
    found = here.store.read(syncs.starts)
    assert found == {job.id: start_of(job) for job in jobs}
    assert {job_id for job_id, start in found.items() if start is not None} == {"a", "c", "jittery", "stopping"}
    assert found["jittery"] != here.job("jittery").next_run_at
    ticket = here.store.read(syncs.basis).ticket
    here.path("a").write_text(here.text("a", "second"))
    here.sync()
    assert here.store.read(syncs.starts, since=ticket).keys() == {"a"}


def test_a_text_that_a_fire_has_seen_and_that_came_back_is_applied(here: Files) -> None:
    """A partial pass (F1) writes no index: the file may again have the bytes that the index knows, and the job not."""
    task = here.root / "prompts/apart.md"
    task.parent.mkdir(exist_ok=True)
    task.write_text("first\n")
    here.path("apart").write_text("id: apart\nschedule: {every: 1h}\ntask_source_path: prompts/apart.md\n")
    here.sync()
    first = here.job("apart").file.task_sha256
    task.write_text("second\n")
    here.passes.refresh(here.store, "apart", wait=lambda _: False, actor="scheduler", cause="fire")
    assert here.job("apart").file.task_sha256 != first
    task.write_text("first\n")
    here.sync()
    assert here.job("apart").file.task_sha256 == first


def _swapped(here: Files, name: str, text: str) -> Callable[[], None]:
    """Other files come to lie where jobs/ was. Returns what brings the old ones back: the very same, untouched."""
    before, hidden = here.path(name).parent, here.root / "hidden"
    before.rename(hidden)
    before.mkdir()
    here.path(name).write_text(text)

    def back() -> None:
        shutil.rmtree(before)
        hidden.rename(before)

    return back


@pytest.mark.usefixtures("trusting")
@pytest.mark.parametrize(
    "text",
    [
        "id: c\nname: second\nschedule: {every: 2h}\ntask: other\n",
        "id: c\nname: [second\n",
        "id: c\nschedule: {every: 1h}\ntask_source_path: prompts/none.md\n",
    ],
    ids=["another definition", "no YAML", "no task"],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_what_a_fire_has_seen_for_a_moment_does_not_stay_in_force(here: Files, text: str, *, restarted: bool) -> None:
    """As when a volume is unmounted over older files and mounted again: the marks are those that the index knows."""
    here.sync()
    first = here.job("c").file
    back = _swapped(here, "c", text)
    here.passes.refresh(here.store, "c", wait=lambda _: False, actor="scheduler", cause="fire")
    assert here.job("c").file != first
    back()
    here.sync(passes=here.process() if restarted else None)
    now = here.job("c").file
    assert (now.sync_state, now.spec, now.task_sha256) == (SyncState.SYNCED, first.spec, first.task_sha256)
    assert here.parsed == ["jobs/c.yaml"]
    assert (here.sync().nothing_to_do, here.parsed) == (True, [])


@pytest.mark.usefixtures("trusting")
def test_settings_that_only_a_fire_has_seen_do_not_stay_in_force(here: Files) -> None:
    here.sync()
    first = here.job("a").file.spec
    (here.root / "scheduler.yaml").write_text(ROOT_FILE + "timezone: Asia/Tokyo\n")
    here.passes.refresh(here.store, "a", wait=lambda _: False, actor="scheduler", cause="fire")
    assert here.job("a").file.spec != first
    (here.root / "scheduler.yaml").write_text(ROOT_FILE)
    here.sync()
    assert here.job("a").file.spec == first


def test_a_text_that_is_written_while_a_pass_reads_it_for_another_job_reaches_all_jobs(
    here: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.path("a").write_text(here.text("c").replace("id: c", "id: a"))
    here.sync()
    here.path("a").write_text(here.path("a").read_text().replace("first", "second"))

    def late(*given: Any, **named: Any) -> Desired:
        (here.root / "prompts/c.md").write_text("say more")
        return read_desired(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("scheduler.sync.look.read_desired", late)
        here.sync()
    here.sync()
    assert {here.job(name).file.task_sha256 for name in "ac"} == {hashlib.sha256(b"say more").hexdigest()}


def test_a_job_whose_task_is_broken_while_its_file_is_compared_again_is_no_absent_job(
    here: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file has the same bytes, and leaves the index all the same."""
    young = True
    monkeypatch.setattr(scan.Grain, "is_young", lambda self, mark: young)
    here.sync()
    young = False
    (here.root / "prompts/c.md").write_text(" \n")
    for _ in range(3):
        here.sync()
        assert here.job("c").file.archived_at is None
        assert "jobs/c.yaml" not in here.known
    (here.root / "prompts/c.md").write_text("say it again")
    here.sync()
    assert here.job("c").file.task_sha256 == hashlib.sha256(b"say it again").hexdigest()
    assert "jobs/c.yaml" in here.known
