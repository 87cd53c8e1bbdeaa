"""A pass in a process of its own: whoever reads and plans thousands of files in Python keeps the fires waiting.

`Aside.sync` starts `python -m scheduler.sync.aside`, which makes the pass and commits it. What belongs to the daemon
it asks over its pipes, so that a process whose daemon has died applies nothing.
"""

from __future__ import annotations

import contextlib
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Any

from scheduler.core.plan.plan import Plan
from scheduler.core.values.problems import SchedulerError, UnavailableError
from scheduler.core.values.settings import Settings
from scheduler.git.tree import Commits
from scheduler.ledger.store import Store
from scheduler.machine import orphans
from scheduler.machine.clock import Clock
from scheduler.machine.garbage import collect_seldom
from scheduler.root.place import Place
from scheduler.sync.passes import Announce, Deep, Defer, Passes
from scheduler.sync.synced import Synced

FEW_FILES = 400  # are read where the fires are
FEW_AT_START = 2_000
_STOP_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What the other process has to do."""

    place: Place
    clock: Clock
    settles: bool
    arguments: dict[str, Any]  # of `Passes.sync`


class Aside:
    """Makes large passes elsewhere, one at a time. `stop` ends the one under way, from any thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def sync(
        self,
        passes: Passes,
        store: Store,
        *,
        actor: str,
        cause: str,
        confirmed: str | None,
        defer: Defer | None,
        now_anyway: bool,
        deep: Deep,
        announce: Announce | None = None,
    ) -> Synced:
        """Like `Passes.sync`. The result has no plan, but what is told of it.

        Raises: UnavailableError.
        """
        arguments = {
            "actor": actor, "cause": cause, "confirmed": confirmed, "now_anyway": now_anyway, "deep": deep,
        }  # fmt: skip
        task = _Task(
            place=passes.place.loose(), clock=passes.clock, settles=passes.settle is not None, arguments=arguments
        )
        # -P: the working directory may be a root with a folder named like a module.
        argv = [sys.executable, "-P", "-m", __name__]
        process = orphans.start(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._process = process
        try:
            if self._stopped:
                raise UnavailableError("the daemon is stopping; nothing was applied")
            assert process.stdin is not None
            assert process.stdout is not None
            return self._talk(process.stdin, process.stdout, task, passes, store, defer, announce)
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            raise UnavailableError(
                f"the process that reads the files has ended: {str(error) or 'no answer'}",
                hint="the next pass tries again",
            ) from error
        finally:
            self._process = None
            process.kill()
            with contextlib.suppress(OSError):
                process.communicate(timeout=_STOP_S)

    def _talk(
        self,
        to: IO[bytes],
        back: IO[bytes],
        task: _Task,
        passes: Passes,
        store: Store,
        defer: Defer | None,
        announce: Announce | None,
    ) -> Synced:
        _send(to, task)
        while True:
            match pickle.load(back):
                case "settle", job_ids, until:
                    assert passes.settle is not None
                    passes.settle(store, job_ids, until)
                    _send(to, None)
                case "defer", losses:
                    doubted = () if defer is None else defer(losses)
                    _send(to, None if doubted is None else tuple(doubted))
                case "announce", job_ids:
                    if announce is not None:
                        announce(job_ids)
                    _send(to, None)
                case "done", synced, report:
                    found: Synced = replace(synced, told=report)
                    return found
                case "failed", message, hint:
                    raise UnavailableError(message, hint=hint)

    def stop(self) -> None:
        self._stopped = True
        if (process := self._process) is not None:
            process.kill()


def _send(to: IO[bytes], said: object) -> None:
    pickle.dump(said, to)
    to.flush()


def main() -> None:
    """The other process."""
    collect_seldom()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the daemon decides
    asked, answers = sys.stdin.buffer, sys.stdout.buffer
    sys.stdout = sys.stderr
    task: _Task = pickle.load(asked)

    def ask(*said: object) -> Any:
        _send(answers, said)
        return pickle.load(asked)

    def settle(_: Store, job_ids: Collection[str], until: datetime) -> None:
        ask("settle", tuple(job_ids), until)

    def announce(job_ids: Sequence[str]) -> None:
        ask("announce", job_ids)

    def defer(losses: frozenset[str] | None) -> Collection[str] | None:
        found: Collection[str] | None = ask("defer", losses)
        return found

    settles: Callable[[Store, Collection[str], datetime], None] | None = settle if task.settles else None
    passes = Passes(place=task.place, clock=task.clock, settle=settles, commits=Commits())
    try:
        with Store.open(task.place.db, create=False) as store:
            found = passes.sync(store, defer=defer, announce=announce, **task.arguments)
    except EOFError:  # the daemon has died
        return
    except Exception as error:
        hint = error.hint if isinstance(error, SchedulerError) else ""
        message = str(error) if isinstance(error, SchedulerError) else f"{type(error).__name__}: {error}"
        _send(answers, ("failed", message, hint))
        return
    report = found.report()
    _send(answers, ("done", replace(found, plan=Plan(settings=Settings()), jobs=()), report))


if __name__ == "__main__":
    main()
