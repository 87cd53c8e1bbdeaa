"""One try on a worker's host, from the checks before its start to its outcome. Runs in a thread of its own.

Who may start what is decided here, by the host's own file: the control plane is not believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scheduler.core.values.engines import WorkerSettings
from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.runs import Ending
from scheduler.core.values.settings import SCRATCH, RunnerSpec
from scheduler.core.values.spec import FRESH
from scheduler.core.values.usage import ResultFormat
from scheduler.machine.folders import remove_tree
from scheduler.root.followed import Pin
from scheduler.run.local.agent import as_told, speaks
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.command import TRY, execute
from scheduler.run.local.expectations import Expected
from scheduler.run.local.prepare import Context, Invocation, Tools, cannot_start, prepare
from scheduler.run.temporal.commits import Commits
from scheduler.run.temporal.journal import key_of
from scheduler.run.temporal.spec import HEAD_BYTES, Outcome, Piece, Spec, Stream

_MARKER = re.compile(rb"\n\[\.\.\. ([0-9]+) bytes not kept \.\.\.\]\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """What all tries on this host share."""

    name: str
    settings: WorkerSettings
    state: Path
    environ: Mapping[str, str]
    commits: Commits | None

    def output(self, key: str, stream: str) -> Path:
        return self.state / "runs" / f"{key}.{stream}"

    def carry_out(
        self, spec: Spec, task: bytes, handle: str, queue: str, cancel: Cancel, spawned: Callable[[int], None]
    ) -> Outcome:
        """spawned: called with the pid of the process before anything else happens."""
        found = self.refused(spec, task)
        if found is not None:
            return self._unstarted(found, queue)
        key = key_of(handle)
        scratch = self.state / "scratch" / key
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(remove_tree, scratch)
            prepared = self._prepared(spec, task, handle, scratch, cancel, cleanup)
            if cancel.why is not None:
                return self._cancelled(cancel, queue)
            if isinstance(prepared, Fault):
                return self._unstarted(prepared, queue)
            if (fault := self.too_late(spec)) is not None:  # making the folder takes its time
                return self._unstarted(fault, queue)
            return self._execute(spec, prepared, key, scratch, queue, cancel, spawned)

    def too_late(self, spec: Spec) -> Fault | None:
        now = datetime.now(UTC)
        if now <= spec.not_after:
            return None
        return Fault(reason="capacity", message=f"it should have started by {spec.not_after:%H:%M:%S}, UTC")

    def refused(self, spec: Spec, task: bytes) -> Fault | None:
        """Why this host does not run it, as far as that can be told without its folder."""
        if (late := self.too_late(spec)) is not None:
            return late
        if hashlib.sha256(task).hexdigest() != spec.task_sha256:
            return Fault(reason="runner_task_damaged", message="the text that arrived is not the one that was sent")
        if spec.workdir == FRESH:
            return cannot_start("workdir_missing", "workers make no worktrees; delete workdir: fresh")
        allowed = self.settings.runners
        if allowed is None:
            return None
        name = spec.runner.name
        if name not in allowed:
            return self._refused(f"it serves {', '.join(sorted(allowed)) or 'no runner'}, not {name!r}")
        own = allowed[name]
        if own is not None and own.command != spec.runner.command:
            said = f"{name!r} is {list(own.command)} there, and {list(spec.runner.command)} was sent"
            return self._refused(said)
        return None

    def _refused(self, why: str) -> Fault:
        return Fault(reason="runner_refused_by_host", message=f"host {self.name} refuses it by its worker.yaml: {why}")

    def _prepared(
        self, spec: Spec, task: bytes, handle: str, scratch: Path, cancel: Cancel, cleanup: contextlib.ExitStack
    ) -> Invocation | Fault:
        pin: Pin | None = None
        by_commit = self.settings.runners is not None and self.settings.runners[spec.runner.name] is None
        if spec.cwd == "root" or by_commit or self.settings.texts == "committed":
            if self.commits is None:
                return self._refused("it has no root, so it has no folder for cwd: root")
            found = self.commits.pin(spec.revision, cancel.wait)
            if isinstance(found, Fault):
                return found
            pin = found
            cleanup.callback(pin.release)
            if self.settings.texts == "committed" and not self.commits.contains(pin, spec.source_path, task):
                return self._refused(f"the text is not {spec.source_path} of commit {(spec.revision or '')[:12]}")
        runner = self._runner(spec, pin if by_commit else None)
        if isinstance(runner, Fault):
            return runner
        root = scratch / "work" if spec.cwd == "scratch" or pin is None else pin.root
        if spec.cwd == "scratch":
            root.mkdir(mode=0o700, parents=True)
        return self._invocation(
            spec, task, handle, replace(runner, cwd="." if runner.cwd == SCRATCH else runner.cwd), root
        )

    def _runner(self, spec: Spec, pin: Pin | None) -> RunnerSpec | Fault:
        """The definition in force: the commit's, the host's own, or the one that was sent."""
        if pin is not None:
            assert self.commits is not None
            return self.commits.runner(pin, spec.runner.name)
        own = None if self.settings.runners is None else self.settings.runners[spec.runner.name]
        return spec.runner if own is None else own

    def _invocation(self, spec: Spec, task: bytes, handle: str, runner: RunnerSpec, root: Path) -> Invocation | Fault:
        tools = Tools(runner, root, self.environ)
        context = Context(
            run_id=spec.run_id,
            job_id=spec.job_id,
            fire_time=spec.fire_time,
            trigger=spec.trigger,
            attempt=spec.attempt,
            revision=spec.revision,
            task_sha256=spec.task_sha256,
            budget=spec.budget,
        )
        found = prepare(tools, spec.job, Task(text=task, source_path=spec.source_path, source=b""), context)
        if isinstance(found, Fault):
            return found
        found = replace(found, env={**found.env, **dict(spec.told), TRY: handle})
        if spec.expect is not None:
            folder = tools.root if spec.workdir is None else found.cwd
            found = replace(found, expected=Expected(spec=spec.expect, folder=folder))
        return found if found.result_format is ResultFormat.TEXT else replace(found, prices=spec.prices)

    def _execute(
        self,
        spec: Spec,
        invocation: Invocation,
        key: str,
        scratch: Path,
        queue: str,
        cancel: Cancel,
        spawned: Callable[[int], None],
    ) -> Outcome:
        files = {name: self.output(key, name) for name in HEAD_BYTES}
        begun: list[tuple[int, datetime]] = []

        def on_spawn(pid: int) -> None:
            begun.append((pid, datetime.now(UTC)))
            spawned(pid)

        ending = execute(
            invocation,
            timeout=spec.timeout,
            scratch=scratch,
            stdout=files["stdout"],
            stderr=files["stderr"],
            output_limit=spec.output_limit,
            on_spawn=on_spawn,
            cancel=cancel,
            grace=spec.grace,
        )
        if isinstance(ending, Fault):
            return self._unstarted(ending, queue)
        if not begun:
            return self._cancelled(cancel, queue)
        pid, since = begun[0]
        if speaks(invocation):
            ending = as_told(
                invocation,
                ending,
                at=datetime.now(UTC),
                since=since,
                **{name: str(path) for name, path in files.items()},
            )
        return self.outcome(spec, key, ending, queue, pid=pid, spawned_at=since)

    def outcome(self, spec: Spec, key: str, ending: Ending, queue: str, *, pid: int, spawned_at: datetime) -> Outcome:
        """With the ends of its output, as far as it lies here."""
        streams = {name: ends_of(self.output(key, name), most, spec.output_limit) for name, most in HEAD_BYTES.items()}
        finished = datetime.now(UTC)
        return Outcome.of(
            ending, host=self.name, queue=queue, pid=pid, spawned_at=spawned_at, finished_at=finished, **streams
        )

    def _unstarted(self, fault: Fault, queue: str) -> Outcome:
        return Outcome(status="unstarted", reason=fault.reason, error=fault.message, host=self.name, queue=queue)

    def _cancelled(self, cancel: Cancel, queue: str) -> Outcome:
        if cancel.why == "interrupted":  # another worker may still take it, but this try is used up
            return Outcome(
                status="interrupted", reason="shutdown", error="the worker stopped", host=self.name, queue=queue
            )
        return Outcome(
            status="cancelled", reason="cancelled", error="cancelled before it started", host=self.name, queue=queue
        )

    def tidy(self, known: Callable[[str], bool]) -> None:
        """Remove outputs that are older than `output_days`, and scratch folders of dead runs."""
        oldest = time.time() - self.settings.output_days * 86_400
        for path in _entries(self.state / "runs"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < oldest:
                    path.unlink()
        for path in _entries(self.state / "scratch"):
            if not known(path.name):
                remove_tree(path)


def ends_of(path: Path, most: int, output_limit: int) -> Stream:
    """Head and tail of a kept stream, and how long it was. Empty if there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            size = total = os.fstat(file.fileno()).st_size
            file.seek(max(output_limit // 2, 2) // 2)  # where run/local/capture puts the marker
            if (found := _MARKER.match(file.read(64))) is not None:
                total = size - len(found[0]) + int(found[1])
            file.seek(0)
            head = file.read(most)
            file.seek(max(len(head), size - most))
            return Stream(total=total, head=head, tail=file.read(most))
    except OSError:
        return Stream()


def piece_of(path: Path, start: int, length: int, ended: bool) -> Piece:
    """Bytes of a kept stream. Empty at its end, and if there is none."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            file.seek(start)
            return Piece(data=file.read(length), size=size, ended=ended)
    except OSError:
        return Piece(data=b"", size=0, ended=ended)


def _entries(folder: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from list(folder.iterdir())
