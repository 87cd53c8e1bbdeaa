"""Random lives of a root against a real store: what a sync may change is S1-S6, and nothing else.

The model beside it folds the same events by the rules as design section 4 words them and shares no code
with the plan.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scheduler.core.values.facts import Job, Pause
from scheduler.core.values.runs import AuditRow, Run
from scheduler.ledger import audit, queries, syncs
from scheduler.ledger.store import Store
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place
from scheduler.run.local.cancel import Cancel
from scheduler.service.root import Root
from scheduler.service.run import run_job
from scheduler.service.sync import plan_sync, sync
from scheduler.sync.passes import Deep
from tests.fakes import FakeClock
from tests.web.bare import service_root

IDS = ("ada", "bob", "cyd", "dot", "eve", "fay", "gil")
PATHS = tuple(f"jobs/{name}.yaml" for name in ("one", "two", "three", "four", "five"))
SCHEDULES = {"hourly": "{every: 1h}", "cron": '"*/30 * * * *"', "daily": '"15 6 * * *"'}
ROOT_FILE = """\
version: 1
runners:
  cat: {command: [cat]}
defaults: {runner: cat}
prune: {max_percent: 50, max_jobs: 4}
"""


@dataclass(frozen=True)
class Doc:
    id: str
    schedule: str
    name: str
    enabled: bool = True
    valid: bool = True

    def text(self) -> str:
        extra = "" if self.valid else "colour: green\n"
        return (
            f"id: {self.id}\nname: {self.name}\nenabled: {str(self.enabled).lower()}\n"
            f"schedule: {SCHEDULES[self.schedule]}\ntask_source_path: prompts/p.md\n{extra}"
        )


BROKEN, EMPTY = "broken", "empty"
MEMORY = Path("/dev/shm")  # no loss of power here, so nothing need wait for a disk
File = list[Doc] | str


@dataclass
class Known:
    """What the model expects of one row."""

    doc: Doc
    path: str
    generation: int = 1
    archived: bool = False
    state: str = "synced"
    cursor_kept: bool = False
    runs: int = 0
    paused: bool = False


@dataclass
class Seen:
    """What the store said before a pass."""

    jobs: dict[str, Job] = field(default_factory=dict)
    runs: dict[str, list[Run]] = field(default_factory=dict)
    audit: list[AuditRow] = field(default_factory=list)


class SyncMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="sync-machine-", dir=MEMORY if MEMORY.is_dir() else None))
        self.clock = FakeClock()
        root = self.folder
        (root / "jobs").mkdir()
        (root / "prompts").mkdir()
        (root / "scheduler.yaml").write_text(ROOT_FILE)
        self.place = Place(root=root.resolve(), state=root.resolve() / ".s", db=root.resolve() / ".s/state.db")
        self.caller = Root(
            place=self.place,
            actor="test:machine",
            environ=dict(os.environ),
            clock=self.clock,
            absent_grace=timedelta(0),
        )
        self.passes = self.caller.passes()  # of a process that lives on, as a daemon's
        self.files: dict[str, File] = {}
        self.known: dict[str, Known] = {}
        self.prompt_waits = False
        self.prompt = "first"

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    # -- the outside world -----------------------------------------------------------------------

    def write(self, path: str, content: File | None) -> None:
        target = self.folder / path
        if content is None:
            target.unlink()
            del self.files[path]
            return
        self.files[path] = content
        if content == BROKEN:
            text = "id: [unclosed\n"
        elif content == EMPTY:
            text = "# nothing here\n"
        else:
            assert isinstance(content, list)
            text = "---\n".join(doc.text() for doc in content)
        temporary = target.with_name(".save")
        temporary.write_text(text)
        temporary.replace(target)

    docs = st.builds(
        Doc,
        id=st.sampled_from(IDS),
        schedule=st.sampled_from(sorted(SCHEDULES)),
        name=st.sampled_from(["N", "M"]),
        enabled=st.sampled_from([True, True, True, False]),
        valid=st.sampled_from([True, True, True, True, False]),
    )

    @initialize()
    def start(self) -> None:
        (self.folder / "prompts/p.md").write_text(self.prompt)
        self.write(PATHS[0], [Doc(id=each, schedule="hourly", name="N") for each in IDS[:3]])
        self.write(PATHS[1], [Doc(id=each, schedule="cron", name="N") for each in IDS[3:5]])
        self.sync(confirm=False)

    @rule(path=st.sampled_from(PATHS), content=st.lists(docs, min_size=1, max_size=3, unique_by=lambda d: d.id))
    def save(self, path: str, content: list[Doc]) -> None:
        self.write(path, content)

    @rule(path=st.sampled_from(PATHS), doc=docs)
    def add_document(self, path: str, doc: Doc) -> None:
        held = self.files.get(path)
        self.write(path, [*held, doc] if isinstance(held, list) and len(held) < 4 else [doc])

    @precondition(lambda self: self.files)
    @rule(data=st.data(), state=st.sampled_from([BROKEN, EMPTY, None]))
    def damage(self, data: st.DataObject, state: str | None) -> None:
        self.write(data.draw(st.sampled_from(sorted(self.files))), state)

    @precondition(lambda self: self.files)
    @rule(data=st.data(), to=st.sampled_from(PATHS))
    def rename(self, data: st.DataObject, to: str) -> None:
        path = data.draw(st.sampled_from(sorted(self.files)))
        if path != to:
            (self.folder / path).replace(self.folder / to)
            self.files[to] = self.files.pop(path)

    @rule(text=st.sampled_from(["first", "second", "third"]))
    def edit_prompt(self, text: str) -> None:
        self.prompt, self.prompt_waits = text, True
        (self.folder / "prompts/p.md").write_text(text)

    @rule(minutes=st.integers(1, 200))
    def time_passes(self, minutes: int) -> None:
        self.clock.advance(timedelta(minutes=minutes))

    @precondition(lambda self: any(not known.archived for known in self.known.values()))
    @rule(data=st.data())
    def pause_or_resume(self, data: st.DataObject) -> None:
        job_id = data.draw(st.sampled_from(sorted(i for i, known in self.known.items() if not known.archived)))
        known = self.known[job_id]
        known.paused = not known.paused
        now = self.clock.now()
        row = AuditRow(job_id=job_id, action="pause", at=now, actor="test:machine", cause="test")
        with Store.open(self.place.db) as store:
            store.write(syncs.set_pause, job_id, Pause(at=now, reason="why") if known.paused else None, audit=row)

    @precondition(lambda self: any(not known.archived for known in self.known.values()))
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        """A manual run: its own file counts as it stands (F1), and exactly one row is added."""
        job_id = data.draw(st.sampled_from(sorted(i for i, known in self.known.items() if not known.archived)))
        known = self.known[job_id]
        before = self.seen()
        finished = run_job(self.caller, job_id, cancel=Cancel())
        claims = self.claims_in(known.path, job_id)
        if not claims and known.state not in ("held", "conflict"):
            assert (finished.status, finished.reason) == ("skipped", "source_missing")
        else:
            assert finished.status == "succeeded", finished.error
            assert finished.result == self.prompt
            known.runs += 1
            if known.state != "conflict" and len(claims) == 1:
                self.expect_read(known, claims[0], known.path)
        after = self.seen()
        for other, job in before.jobs.items():
            if other != job_id:
                assert after.jobs[other] == job
                assert after.runs[other] == before.runs[other]
        added = [run for run in after.runs[job_id] if run not in before.runs[job_id]]
        assert [run.n for run in added if run.trigger == "manual"] == [finished.n]
        assert after.runs[job_id][-len(before.runs[job_id]) :] == before.runs[job_id] or not before.runs[job_id]

    # -- the pass --------------------------------------------------------------------------------

    @precondition(lambda self: any(isinstance(held, list) for held in self.files.values()))
    @rule(data=st.data(), name=st.sampled_from(["N", "M"]), schedule=st.sampled_from(sorted(SCHEDULES)))
    def edit_is_applied_alone(self, data: st.DataObject, name: str, schedule: str) -> None:
        """An edit that says no more than before about which jobs there are may be applied without any other file."""
        path = data.draw(st.sampled_from(sorted(path for path, held in self.files.items() if isinstance(held, list))))
        held = self.files[path]
        assert isinstance(held, list)
        docs = [replace(held[0], name=name, schedule=schedule), *held[1:]]
        self.write(path, docs)
        before = self.seen()
        with Store.open(self.place.db) as store:
            found = self.passes.sync_edits(store, {path}, actor="test:machine", cause="watch")
        jobs_there = {job.id for job in before.jobs.values() if job.file.path == path and not job.archived}
        if found is None:
            assert self.seen() == before
            is_edit = jobs_there == {doc.id for doc in docs} and all(doc.valid for doc in docs)
            states = {self.known[job_id].state for job_id in jobs_there}
            is_edit = is_edit and not self.prompt_waits  # for a pass that gives it to all jobs
            assert not (is_edit and states == {"synced"} and len(jobs_there) == len(docs))
            return
        assert jobs_there == {doc.id for doc in docs}
        after = self.seen()
        assert {job_id for job_id, job in after.jobs.items() if job != before.jobs[job_id]} <= jobs_there
        for known in self.known.values():
            known.cursor_kept = True
        for doc in docs:
            self.expect_read(self.known[doc.id], doc, path)
        self.check_pass(before)

    @rule(
        confirm=st.sampled_from([False, False, True]), lives_on=st.booleans(), deep=st.sampled_from(["", "some", "all"])
    )
    def sync(self, confirm: bool, lives_on: bool = False, deep: Deep = "") -> None:
        before = self.seen()
        whole = self.caller.passes().plan(self.caller.observed()).report().json  # reads every file
        plan = plan_sync(self.caller).json
        assert self.seen() == before, "a plan writes nothing"
        for name in whole.keys() - {"duration_ms", "guard"}:
            assert whole[name] == plan[name], name  # type: ignore[literal-required]
        assert _held(whole["guard"]) == _held(plan["guard"])
        token = plan["guard"]["token"] if confirm and plan["guard"] else None
        guarded = self.expect_pass(confirmed=token is not None)
        if lives_on:
            with Store.open(self.place.db) as store:
                found = self.passes.sync(store, actor="test:machine", cause="test", confirmed=token, deep=deep).report()
        else:
            found = sync(self.caller, confirmed=token)
        if token is None:
            assert {**found.json, "duration_ms": 0} == {**plan, "duration_ms": 0, "guard": found.json["guard"]}
            assert _held(found.json["guard"]) == _held(plan["guard"])
        assert (found.json["guard"] is not None) == guarded
        self.prompt_waits = False
        self.check_pass(before)
        again = plan_sync(self.caller)
        assert again.read
        assert again.nothing_to_do, "plan, apply, plan again: nothing to do"

    def claims_in(self, path: str, job_id: str) -> list[Doc | None]:
        """What one file says of an id: documents, or None for a file that cannot be read and holds it."""
        held = self.files.get(path)
        if held is None:
            return []
        if isinstance(held, str):
            return [None]
        return [doc for doc in held if doc.id == job_id]

    def expect_read(self, known: Known, doc: Doc | None, path: str) -> None:
        if doc is None or not doc.valid:
            known.state = "invalid"
            return
        changed = doc != known.doc
        restarts = known.archived or doc.schedule != known.doc.schedule or (doc.enabled and not known.doc.enabled)
        known.cursor_kept = not restarts and doc.enabled == known.doc.enabled
        known.generation += changed
        known.doc, known.path, known.archived, known.state = doc, path, False, "synced"

    def expect_pass(self, *, confirmed: bool) -> bool:
        """Folds one pass into the model; True where the guard must hold archives back."""
        gone: list[str] = []
        live_before = sum(not known.archived for known in self.known.values())
        for known in self.known.values():
            known.cursor_kept = True
        for job_id in IDS:
            known_job = self.known.get(job_id)
            named = [
                (path, doc)
                for path, held in sorted(self.files.items())
                if isinstance(held, list)
                for doc in held
                if doc.id == job_id
            ]
            if any(doc.valid for _, doc in named):  # a stranger with an error speaks for nobody
                speaks = {path for path, doc in named if doc.valid} | ({known_job.path} if known_job else set())
                named = [(path, doc) for path, doc in named if doc.valid or path in speaks]
            protected = 0
            if known_job is not None and not known_job.archived:
                held = self.files.get(known_job.path)
                protected = int(held == BROKEN or (held == EMPTY and not named))
            if len(named) + protected > 1:
                if known_job is not None and not known_job.archived:
                    known_job.state = "conflict"
            elif protected:
                assert known_job is not None
                known_job.state = "invalid"
            elif named:
                path, doc = named[0]
                if known_job is None:
                    if doc.valid:
                        self.known[job_id] = Known(doc=doc, path=path)
                elif doc.valid or not known_job.archived:
                    self.expect_read(known_job, doc, path)
            elif known_job is not None and not known_job.archived:
                gone.append(job_id)
        left = sum(not known.archived for known in self.known.values()) - len(gone)
        guarded = bool(gone) and (left == 0 or len(gone) > 4 or (len(gone) > 3 and len(gone) * 100 > 50 * live_before))
        for job_id in gone:
            if guarded and not confirmed:
                self.known[job_id].state = "held"
            else:
                self.known[job_id].archived = True
        return guarded and not confirmed

    def seen(self) -> Seen:
        with Store.open(self.place.db) as store:
            jobs = {job.id: job for job in store.read(queries.jobs)}
            return Seen(
                jobs=jobs,
                runs={each: store.read(queries.runs, each) for each in jobs},
                audit=store.read(audit.read_audit),
            )

    def check_pass(self, before: Seen) -> None:
        after = self.seen()
        assert after.audit[: len(before.audit)] == before.audit, "audit rows are only ever added"
        assert before.jobs.keys() <= after.jobs.keys(), "no row is ever deleted"
        for job_id, old in before.jobs.items():
            new = after.jobs[job_id]
            runs, old_runs = after.runs[job_id], before.runs[job_id]
            added = runs[: len(runs) - len(old_runs)]
            assert runs[len(added) :] == old_runs, "no run row changes"
            assert all(r.status == "skipped" and r.reason in ("missed", "paused") for r in added)
            assert new.pause == old.pause
            assert (new.created_at, new.created_by) == (old.created_at, old.created_by)
            assert _counters(new) == _counters(old)
            if self.known[job_id].cursor_kept and not self.known[job_id].archived:
                assert new.next_run_at == old.next_run_at, "only a schedule edit moves the next fire"
                assert not added
            elif old.next_run_at is not None and old.next_run_at <= self.clock.now():
                assert sum(run.slots for run in added) == _slots(old, self.clock.now()), "every slot has its row"
            if added:
                assert min(r.fire_time for r in added if r.fire_time) == old.next_run_at

    @invariant()
    def the_store_agrees_with_the_model(self) -> None:
        if not self.place.db.exists():
            return
        with Store.open(self.place.db) as store:
            jobs = {job.id: job for job in store.read(queries.jobs)}
        assert jobs.keys() == self.known.keys()
        for job_id, known in self.known.items():
            job = jobs[job_id]
            facts = job.file
            assert (facts.path, facts.generation, job.archived) == (known.path, known.generation, known.archived)
            assert (facts.spec.name, facts.spec.enabled) == (known.doc.name, known.doc.enabled)
            assert job.runtime.run_count == known.runs
            assert (job.pause is not None) == known.paused
            if not known.archived:
                assert facts.sync_state == known.state


def _held(guard: Any) -> Any:
    return None if guard is None else (guard["ids"], guard["token"], guard["why"])


def _counters(job: Job) -> Any:
    runtime = job.runtime
    return (runtime.run_count, runtime.consecutive_errors, runtime.last_run_at, runtime.last_run_status)


def _slots(job: Job, now: datetime) -> int:
    """The slots from the cursor up to now, one by one."""
    step = {"hourly": 60, "*/30": 30}
    cron = job.file.spec.schedule.cron
    minutes = step["hourly"] if cron is None else step.get(cron.split()[0], 24 * 60)
    assert job.next_run_at is not None
    return int((now - job.next_run_at) / timedelta(minutes=minutes)) + 1


TestSyncMachine = SyncMachine.TestCase
TestSyncMachine.settings = settings(
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # a failure is shown as found: shrinking takes minutes
    max_examples=settings().max_examples // 3,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def test_a_plan_reads_no_file_that_has_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "scheduler.yaml").write_text("version: 1\nrunners: {cat: {command: [cat]}}\ndefaults: {runner: cat}\n")
    for n in range(20):
        (tmp_path / f"jobs/j{n}.yaml").write_text(f"id: j{n}\nschedule: {{every: 1h}}\ntask: x\n")
        os.utime(tmp_path / f"jobs/j{n}.yaml", (1_000_000_000, 1_000_000_000))  # a file that is young is read again
    root = service_root(tmp_path)
    sync(root)
    read, of_tree = list[str](), WorkingTree.read

    def noted(tree: WorkingTree, path: str, **how: Any) -> Any:
        read.append(path)
        return of_tree(tree, path, **how)

    monkeypatch.setattr(WorkingTree, "read", noted)
    assert plan_sync(root).json["unchanged"] == 20
    (tmp_path / "jobs/j7.yaml").write_text("id: j7\nschedule: {every: 2h}\ntask: x\n")
    assert [each["id"] for each in plan_sync(root).json["updated"]] == ["j7"]
    assert set(read) <= {"jobs/j7.yaml", "scheduler.yaml"}
