"""Real processes. A named pipe says when a child is ready, and by its end that every holder is gone."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import os
import resource
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.runs import Ending, RunStatus
from scheduler.core.values.settings import RunnerSpec, TaskInput
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.machine.processes import has_living_member
from scheduler.run.engine import Why
from scheduler.run.local.cancel import Cancel
from scheduler.run.local.command import execute
from scheduler.run.local.prepare import Context, Invocation, Tools, prepare

SH = shutil.which("sh") or "/bin/sh"
BASE = "/usr/local/bin:/usr/bin:/bin"
SCHEDULE = Schedule(timezone="UTC", cron="0 * * * *")
SPEC = JobSpec(id="a", name="a", schedule=SCHEDULE, runner="r", task_source_path="scripts/a.sh")


def runner(
    *command: str,
    input: TaskInput = TaskInput.STDIN,  # noqa: A002
    cwd: str = ".",
    tasks: tuple[str, ...] | None = None,
    env: Mapping[str, str] | None = None,
    env_from: tuple[str, ...] = (),
    job_env: tuple[str, ...] = (),
) -> RunnerSpec:
    fixed = tuple(sorted((env or {}).items()))
    return RunnerSpec(
        name="r", command=command, input=input, cwd=cwd, tasks=tasks, env=fixed, env_from=env_from, job_env=job_env
    )


def task(text: bytes = b"text\n", path: str = "scripts/a.sh") -> Task:
    return Task(text=text, source_path=path, source=text)


def context() -> Context:
    return Context(
        run_id="a:7",
        job_id="a",
        fire_time=datetime(2027, 1, 2, 3, 4, 5, tzinfo=UTC),
        trigger="schedule",
        attempt=2,
        revision="c0ffee",
        task_sha256="5ha",
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    where = tmp_path / "root"
    (where / "scripts").mkdir(parents=True)
    return where


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def prepared(found: Invocation | Fault) -> Invocation:
    assert isinstance(found, Invocation), found
    return found


def refused(found: object) -> Fault:
    assert isinstance(found, Fault), found
    return found


def plan(root: Path, spec: RunnerSpec, given: Task | None = None) -> Invocation | Fault:
    return prepare(Tools(spec, root, {"PATH": BASE}), SPEC, given or task(), context())


# -- prepare: the environment ----------------------------------------------------------------

TOLD = {
    "SCHEDULER_JOB_ID": "a",
    "SCHEDULER_RUN_ID": "a:7",
    "SCHEDULER_FIRE_TIME": "2027-01-02T03:04:05Z",
    "SCHEDULER_TRIGGER": "schedule",
    "SCHEDULER_ATTEMPT": "2",
    "SCHEDULER_REVISION": "c0ffee",
    "SCHEDULER_TASK_SHA256": "5ha",
}


def test_a_child_inherits_the_listed_variables_and_no_others(root: Path) -> None:
    inherited = {
        **dict.fromkeys(["HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_TIME", "TZ", "TMPDIR"], "x"),
        **dict.fromkeys(["XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"], "y"),
    }
    secrets = dict.fromkeys(["API_KEY", "LD_PRELOAD", "PYTHONPATH", "HOMEX", "LCX", "SCHEDULER_DB", "OLDPWD"], "no")
    environ = {"PATH": BASE, **inherited, **secrets}
    found = prepared(prepare(Tools(runner("sh"), root, environ), SPEC, task(), context()))
    assert found.env == {"PATH": BASE, **inherited, **TOLD, "SCHEDULER_ROOT": str(root), "PWD": str(root)}


def test_each_layer_of_the_environment_overrides_the_one_below(root: Path) -> None:
    spec = replace(SPEC, env=(("C", "job"), ("D", "job"), ("SCHEDULER_JOB_ID", "forged")))
    using = runner(
        "sh",
        env_from=("A", "B", "C", "GONE"),
        env={"B": "runner", "C": "runner"},
        job_env=("C", "D", "SCHEDULER_JOB_ID"),
    )
    found = prepared(prepare(Tools(using, root, {"PATH": BASE, "A": "1", "B": "1", "C": "1"}), spec, task(), context()))
    names = ("A", "B", "C", "D", "GONE", "SCHEDULER_JOB_ID")
    assert [found.env.get(name) for name in names] == ["1", "runner", "job", "job", None, "a"]


def test_a_job_may_set_only_what_its_runner_allows(root: Path) -> None:
    spec = replace(SPEC, env=(("MODE", "x"), ("OTHER", "x")))
    found = refused(prepare(Tools(runner("sh", job_env=("MODE",)), root, {"PATH": BASE}), spec, task(), context()))
    assert (found.reason, "OTHER" in found.message, "MODE" in found.message) == ("runner_not_allowed", True, False)


@pytest.mark.parametrize(
    ("limits", "word"),
    [({"jobs": ("b*", "tag:night")}, "tag:night"), ({"max_timeout": timedelta(minutes=29)}, "at most 29m, not 30m")],
)
def test_a_runner_that_came_to_refuse_the_job_or_its_timeout_starts_nothing(
    root: Path, limits: dict[str, Any], word: str
) -> None:
    found = refused(plan(root, replace(runner("sh"), **limits)))
    assert (found.reason, word in found.message) == ("runner_not_allowed", True)


@pytest.mark.parametrize(
    "limits", [{"jobs": ("a",)}, {"jobs": ("tag:x*",)}, {"max_timeout": timedelta(minutes=30)}, {"jobs": ("*",)}]
)
def test_a_runner_starts_the_jobs_that_its_limits_allow(root: Path, limits: dict[str, Any]) -> None:
    using = replace(runner("sh"), **limits)
    prepared(prepare(Tools(using, root, {"PATH": BASE}), replace(SPEC, tags=("xy",)), task(), context()))


def test_what_does_not_apply_to_a_run_is_absent_from_its_environment(root: Path) -> None:
    manual = replace(context(), fire_time=None, revision=None)
    environ = {"PATH": BASE, "SCHEDULER_FIRE_TIME": "stale", "SCHEDULER_REVISION": "stale"}
    using = runner("sh", env_from=("SCHEDULER_FIRE_TIME", "SCHEDULER_REVISION"))
    found = prepared(prepare(Tools(using, root, environ), SPEC, task(), manual))
    assert {name for name in found.env if name.startswith("SCHEDULER_")} == {
        *TOLD.keys() - {"SCHEDULER_FIRE_TIME", "SCHEDULER_REVISION"},
        "SCHEDULER_ROOT",
    }


# -- prepare: the program, the folder, the task ----------------------------------------------


def test_a_bare_name_is_found_on_the_childs_path(root: Path, tmp_path: Path) -> None:
    expected = program(tmp_path / "bin/tool")
    using = runner("tool", "-x", env={"PATH": f"{tmp_path}/empty:{tmp_path}/bin"})
    assert prepared(plan(root, using)).argv == (str(expected), "-x")
    assert refused(plan(root, runner("tool"))).reason == "runner_not_found"


def test_an_absolute_program_and_one_below_the_root_are_taken_as_written(root: Path, tmp_path: Path) -> None:
    program(root / "tools/x")
    assert prepared(plan(root, runner("./tools/x"))).argv == (f"{root}/tools/x",)
    elsewhere = program(tmp_path / "y")
    assert prepared(plan(root, runner(str(elsewhere)))).argv == (str(elsewhere),)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nothing-by-this-name", "is not on PATH"),
        ("/no/such", "'/no/such' does not exist"),
        ("./no/such", "does not exist"),
        ("./plain/x", "does not exist"),
        ("./tools", "is a folder"),
        ("/etc", "'/etc' is a folder"),
        ("./pipe", "is not a regular file"),
        ("./plain", "is not executable: run chmod"),
        ("tools/x", "write './tools/x'"),
    ],
)
def test_what_is_no_program_is_not_found_and_says_why(root: Path, name: str, words: str) -> None:
    program(root / "tools/x")
    os.mkfifo(root / "pipe")
    (root / "plain").write_text("not executable")
    found = refused(plan(root, runner(name)))
    assert (found.reason, words in found.message) == ("runner_not_found", True), found.message


def test_a_program_below_the_root_may_not_leave_it(root: Path, tmp_path: Path) -> None:
    program(tmp_path / "x")
    assert refused(plan(root, runner("./../x"))).reason == "runner_not_found"


def test_a_program_in_the_root_is_not_found_by_path_and_the_message_says_what_to_write(root: Path) -> None:
    program(root / "bin/tool")
    found = refused(plan(root, runner("tool", env={"PATH": f"{root}/bin:{BASE}"})))
    assert found.reason == "runner_not_found"
    assert "./bin/tool" in found.message


@pytest.mark.parametrize("search", ["bin", "", ".:bin"])
def test_a_relative_entry_of_path_finds_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, search: str
) -> None:
    program(tmp_path / "here/tool")
    program(tmp_path / "here/bin/tool")
    monkeypatch.chdir(tmp_path / "here")
    assert refused(plan(root, runner("tool", env={"PATH": search}))).reason == "runner_not_found"


def test_the_working_directory_is_a_folder_in_the_root(root: Path, tmp_path: Path) -> None:
    found = prepared(plan(root, runner("sh", cwd="scripts")))
    assert (found.cwd, found.env["PWD"]) == (root / "scripts", f"{root}/scripts")
    (root / "file").touch()
    (root / "out").symlink_to(tmp_path)
    for cwd in ("gone", "file", "..", "out"):
        assert refused(plan(root, runner("sh", cwd=cwd))).reason == "runner_cwd_missing"


def test_a_runner_takes_only_the_task_files_its_globs_name(root: Path) -> None:
    using = runner("sh", tasks=("scripts/**", "jobs/*.md"))
    assert isinstance(plan(root, using, task(path="scripts/deep/a.sh")), Invocation)
    found = refused(plan(root, using, task(path="prompts/a.md")))
    assert found.reason == "runner_not_allowed"
    assert "'prompts/a.md'" in found.message
    assert refused(plan(root, runner("sh", tasks=()))).reason == "runner_not_allowed"


def test_the_task_is_handed_over_in_exactly_one_way(root: Path) -> None:
    given = task("é {task_file} $(x)".encode())
    by_stdin = prepared(plan(root, runner("sh", "-s"), given))
    assert (by_stdin.argv[1:], by_stdin.stdin, by_stdin.task_file) == (("-s",), given.text, None)
    by_file = prepared(plan(root, runner("sh", "{task_file}", input=TaskInput.FILE), given))
    assert (by_file.argv[1:], by_file.stdin, by_file.task_file) == (("{task_file}",), None, given.text)
    by_arg = prepared(plan(root, runner("sh", "--say={task}", input=TaskInput.ARG), given))
    assert (by_arg.argv[1:], by_arg.stdin, by_arg.task_file) == (("--say=é {task_file} $(x)",), None, None)


@pytest.mark.parametrize("text", [b"a\0b", b"x" * 128 * 1024, "é".encode() * 64 * 1024])
def test_a_task_that_is_no_possible_argument_is_too_large(root: Path, text: bytes) -> None:
    found = refused(plan(root, runner("sh", "{task}", input=TaskInput.ARG), task(text)))
    assert found.reason == "runner_task_too_large"
    assert isinstance(plan(root, runner("sh"), task(text)), Invocation)


OPTIONS = [b"--dangerously-skip-permissions", b"---", b"- [ ] x", b"-", b"-p x\n"]


@pytest.mark.parametrize("text", OPTIONS)
def test_a_text_that_would_be_an_option_is_never_handed_over(root: Path, text: bytes) -> None:
    for command in (("{task}",), ("-p", "{task}"), ("-p", "{task}", "--")):
        assert (
            refused(plan(root, runner("sh", *command, input=TaskInput.ARG), task(text))).reason == "runner_task_option"
        )


@pytest.mark.parametrize("text", OPTIONS)
def test_a_text_that_can_be_no_option_is_handed_over_as_it_is(root: Path, text: bytes) -> None:
    for command in (("--", "{task}"), ("-p", "--", "x", "{task}"), ("--say={task}",), ("{task} ",)):
        found = prepared(plan(root, runner("sh", *command, input=TaskInput.ARG), task(text)))
        assert found.argv[-1] == command[-1].replace("{task}", text.decode())
    assert prepared(plan(root, runner("sh"), task(text))).stdin == text


@pytest.mark.parametrize("text", [b" -p", b"\n- x", "\ufeff-p".encode(), b"x -p", "\u2212p".encode()])
def test_a_text_that_begins_with_something_else_is_no_option(root: Path, text: bytes) -> None:
    assert isinstance(plan(root, runner("sh", "{task}", input=TaskInput.ARG), task(text)), Invocation)


def test_preparing_changes_nothing(root: Path) -> None:
    plan(root, runner("sh", "{task_file}", input=TaskInput.FILE))
    assert sorted(root.rglob("*")) == [root / "scripts"]


# -- execute ---------------------------------------------------------------------------------


@dataclass
class Bench:
    """Runs processes in a folder of its own, and keeps what became of the last one."""

    where: Path
    pid: int = 0
    cancel: Cancel = field(default_factory=Cancel)

    def __call__(
        self,
        *argv: str,
        stdin: bytes | None = None,
        task_file: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        timeout: timedelta = timedelta(seconds=60),
        grace: timedelta = timedelta(seconds=10),
        limit: int = 2_000_000,
        ready: Callable[[], object] = lambda: None,
    ) -> Ending | Fault:
        def on_spawn(pid: int) -> None:
            self.pid = pid
            ready()

        invocation = Invocation(
            argv=argv, cwd=cwd or self.where, env=env or {"PATH": BASE}, stdin=stdin, task_file=task_file
        )
        return execute(
            invocation,
            timeout=timeout,
            grace=grace,
            scratch=self.where / "scratch",
            stdout=self.where / "stdout",
            stderr=self.where / "stderr",
            output_limit=limit,
            on_spawn=on_spawn,
            cancel=self.cancel,
        )

    @property
    def stdout(self) -> bytes:
        return (self.where / "stdout").read_bytes()

    @property
    def stderr(self) -> bytes:
        return (self.where / "stderr").read_bytes()


def without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: all that a run needs to see its end then is waitid, in a thread."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)


needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfd_open")


@pytest.fixture(params=[pytest.param("pidfd", marks=needs_pidfd), "waitid"])
def bench(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Twice, for the two ways to see the end of a process."""
    if request.param == "waitid":
        without_pidfd(monkeypatch)
    return make_bench(tmp_path)


@pytest.fixture
def pidfd_bench(tmp_path: Path) -> Bench:
    return make_bench(tmp_path)


def make_bench(tmp_path: Path) -> Bench:
    where = tmp_path / "bench"
    where.mkdir()
    return Bench(where)


def ended(found: Ending | Fault) -> Ending:
    assert isinstance(found, Ending), found
    return found


@dataclass
class Pipe:
    """A named pipe a child holds open for writing as `exec 3> PATH`: `wait` for a line, `gone` when nobody holds it."""

    path: Path
    reader: int

    def wait(self) -> None:
        os.set_blocking(self.reader, True)
        with open(self.path, "rb", buffering=0) as other:  # noqa: PTH123 - blocks until the child opens its end
            assert other.readline()

    def gone(self) -> bool:
        """Blocks until the last writer is gone."""
        os.set_blocking(self.reader, True)
        while os.read(self.reader, 100):
            pass
        return True


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield Pipe(path, reader)
    os.close(reader)


NONE, BRIEFLY, LONG = timedelta(0), timedelta(milliseconds=50), timedelta(minutes=1)
SURVIVES_TERM = """trap 'echo told >&3' TERM; exec 3> "$1"; echo ready >&3; while :; do sleep 1000 & wait; done"""


@contextlib.contextmanager
def meanwhile(act: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """What starts `act` in a thread, which has ended after the block."""
    thread = threading.Thread(target=act)
    yield thread.start
    thread.join()


@contextlib.contextmanager
def soon() -> Iterator[None]:
    """The block does not wait for a grace of LONG to pass."""
    since = time.monotonic()
    yield
    assert time.monotonic() - since < LONG.total_seconds() / 2


def test_a_program_that_ends_with_zero_has_succeeded(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "echo out; echo err >&2"))
    expected = Ending(
        status=RunStatus.SUCCEEDED,
        reason=None,
        exit_code=0,
        error=None,
        result="out\n",
        output_bytes=8,
        truncated=False,
    )
    assert found == expected
    assert (bench.stdout, bench.stderr) == (b"out\n", b"err\n")


def test_another_exit_code_has_failed(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "exit 3"))
    assert (found.status, found.reason, found.exit_code, found.error) == ("failed", "exit_code", 3, "exit code 3")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("echo out; echo psql: connection refused >&2; exit 2", "exit code 2: psql: connection refused"),
        ("echo lost; exit 2", "exit code 2: lost"),  # as of a script that joins its streams
        ("echo lost; echo >&2; exit 2", "exit code 2: lost"),
        ("printf '\\033[31mno\\033[0m way\\a' >&2; exit 2", "exit code 2: no way\ufffd"),
        ("echo last words >&2; kill -USR1 $$", "ended by SIGUSR1: last words"),
        ("echo only a warning >&2", None),
    ],
)
def test_a_failure_says_what_the_process_said_last(bench: Bench, script: str, error: str | None) -> None:
    assert ended(bench(SH, "-c", script)).error == error


def test_of_much_output_the_last_line_is_the_last(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "yes filler | head -n 50000 >&2; echo the cause >&2; exit 1"))
    assert found.error == "exit code 1: the cause"


def test_a_timeout_says_where_it_hung(bench: Bench) -> None:
    hangs = "echo waiting for a lock >&2; exec sleep 60"
    found = ended(bench(SH, "-c", hangs, timeout=timedelta(milliseconds=500)))
    assert found.error == "not finished after 0.5s; ended by SIGTERM: waiting for a lock"


def test_an_end_by_signal_has_no_exit_code_and_names_the_signal(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "kill -USR1 $$"))
    assert (found.status, found.reason, found.exit_code, found.error) == ("failed", "signal", None, "ended by SIGUSR1")


def test_standard_input_holds_exactly_the_bytes(bench: Bench) -> None:
    data = os.urandom(3_000_000)
    found = ended(bench(shutil.which("cat") or "cat", stdin=data, limit=8_000_000))
    assert (found.status, bench.stdout) == ("succeeded", data)


@pytest.mark.parametrize("script", ["exit 0", "exec <&-; exit 0", "head -c 1 >/dev/null"])
def test_a_program_may_leave_its_input_unread(bench: Bench, script: str) -> None:
    assert ended(bench(SH, "-c", script, stdin=b"x" * 3_000_000)).status == "succeeded"


@pytest.mark.parametrize("stdin", [None, b""])
def test_without_input_there_is_an_empty_one_and_never_ours(bench: Bench, stdin: bytes | None) -> None:
    ours, end = os.pipe()
    os.write(end, b"ours")
    os.close(end)
    kept = os.dup(0)
    os.dup2(ours, 0)
    try:
        assert ended(bench(SH, "-c", "cat; echo end", stdin=stdin)).result == "end\n"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(ours)


def test_a_script_in_a_file_keeps_its_rest_when_a_child_reads_standard_input(bench: Bench) -> None:
    found = ended(bench(SH, "-eu", "{task_file}", task_file=b"cat >/dev/null\necho after\n"))
    assert found.result == "after\n"


def test_the_task_file_is_private_exact_and_gone_afterwards(bench: Bench) -> None:
    data = b"a\r\n\0\xff{task_file}\n"
    look = "import os,sys; f=sys.argv[1].removeprefix('--at='); print(oct(os.stat(f).st_mode & 0o777), f); "
    look += "sys.stdout.flush(); sys.stdout.buffer.write(open(f,'rb').read())"
    ended(bench(sys.executable, "-c", look, "--at={task_file}", task_file=data))
    about, content = bench.stdout.split(b"\n", 1)
    mode, path = about.decode().split(" ")
    assert (mode, content, Path(path).parent) == ("0o600", data, bench.where / "scratch")
    assert list((bench.where / "scratch").iterdir()) == []


def test_a_program_may_delete_its_task_file(bench: Bench) -> None:
    assert ended(bench(SH, "-c", 'rm "$1"', "sh", "{task_file}", task_file=b"x")).status == "succeeded"


def test_an_argument_reaches_the_program_byte_for_byte(bench: Bench) -> None:
    text = "é '\"$(x)`\n *"
    ended(bench(SH, "-c", 'printf %s "$1"', "sh", text))
    assert bench.stdout == text.encode()


def test_the_child_sees_exactly_the_environment_it_was_given(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "no")
    env = {"A": "1", "NAME": "é\n", "PWD": str(bench.where)}
    ended(bench(shutil.which("env") or "env", "-0", env=env))
    found = dict(line.split("=", 1) for line in bench.stdout.decode().split("\0")[:-1])
    assert found == env


def test_the_child_stands_in_its_working_directory_and_leads_its_own_session(bench: Bench) -> None:
    (bench.where / "here").mkdir()
    ask = "import os; print(os.getcwd(), os.getpid() == os.getpgid(0) == os.getsid(0), os.getpid())"
    found = ended(bench(sys.executable, "-c", ask, cwd=bench.where / "here"))
    assert str(found.result).split() == [str(bench.where / "here"), "True", str(bench.pid)]


def test_no_descriptor_of_ours_is_inherited(bench: Bench) -> None:
    ours, other = os.pipe()
    os.set_inheritable(ours, True)
    ask = "import os,sys\ntry:\n os.fstat(int(sys.argv[1])); print('open')\nexcept OSError: print('closed')"
    try:
        assert ended(bench(sys.executable, "-c", ask, str(ours))).result == "closed\n"
    finally:
        os.close(ours)
        os.close(other)


def test_nothing_of_ours_stays_open_or_unreaped(bench: Bench) -> None:
    before = os.listdir("/dev/fd")  # noqa: PTH208
    ended(bench(SH, "-c", "cat; exit 1", stdin=b"x", limit=0))
    refused(bench("/no/such", task_file=b"x"))
    assert os.listdir("/dev/fd") == before  # noqa: PTH208
    with pytest.raises(ChildProcessError):
        os.waitpid(bench.pid, os.WNOHANG)


def test_no_descriptor_is_lost_over_many_runs(bench: Bench) -> None:
    gc.collect()  # what earlier tests have left open
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    for _ in range(50):
        ended(bench(SH, "-c", "exit 1"))
    assert len(os.listdir("/dev/fd")) == before  # noqa: PTH208


@needs_pidfd
def test_a_run_takes_no_thread_but_its_callers(pidfd_bench: Bench, pipe: Pipe) -> None:
    before = {*threading.enumerate()}
    # More than a pipe holds goes before the line, so that the run is under way when it is read.
    script = f"exec 3> {pipe.path}; head -c 500000 /dev/zero; echo ready >&3; exec sleep 1000"
    found: list[Ending | Fault] = []
    caller = threading.Thread(target=lambda: found.append(pidfd_bench(SH, "-c", script)))
    with soon():
        caller.start()
        pipe.wait()
        meantime = {*threading.enumerate()}
        pidfd_bench.cancel.request()
        caller.join()
    assert meantime - before == {caller}
    assert [ended(each).status for each in found] == ["cancelled"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSYS, "not implemented"), PermissionError(errno.EPERM, "sandbox")])
def test_where_pidfd_open_fails_the_end_is_seen_all_the_same(
    pidfd_bench: Bench, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(pid: int, flags: int = 0) -> int:
        raise error

    monkeypatch.setattr(os, "pidfd_open", fail, raising=False)
    assert ended(pidfd_bench(SH, "-c", "exit 3")).exit_code == 3
    assert ended(pidfd_bench(SH, "-c", "exec sleep 1000", timeout=BRIEFLY)).status == "timed_out"


# -- output ----------------------------------------------------------------------------------


def test_output_over_the_limit_keeps_head_and_tail_and_counts_everything(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "seq 1 100000; seq 1 10 >&2", limit=2000))
    whole = "".join(f"{n}\n" for n in range(1, 100_001)).encode()
    marker = b"\n[... %d bytes not kept ...]\n" % (len(whole) - 1000)
    assert bench.stdout == whole[:500] + marker + whole[-500:]
    assert (found.output_bytes, found.truncated) == (len(whole) + 21, True)
    assert found.result == whole[: 64 * 1024].decode()


def test_memory_does_not_grow_with_the_output(bench: Bench) -> None:
    tracemalloc.start()
    try:
        found = ended(bench(SH, "-c", "head -c 30000000 /dev/zero", limit=4_000_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.output_bytes == 30_000_000
    assert peak < 2_000_000


def test_the_result_replaces_invalid_utf8_and_does_not_break_the_last_character(bench: Bench) -> None:
    assert ended(bench(SH, "-c", r"printf 'a\377b\303'")).result == "a\ufffdb\ufffd"
    text = "x" + "é" * 40_000
    assert ended(bench(shutil.which("cat") or "cat", stdin=text.encode())).result == "x" + "é" * (32 * 1024 - 1)


def test_endless_output_does_not_delay_the_timeout(bench: Bench) -> None:
    found = ended(bench(SH, "-c", "exec yes", timeout=BRIEFLY, limit=10_000))
    assert (found.status, found.error) == ("timed_out", "not finished after 0.05s; ended by SIGTERM: y")
    assert len(bench.stdout) < 10_000


def test_both_streams_can_be_full_at_once(bench: Bench) -> None:
    script = "head -c 1000000 /dev/zero & head -c 1000000 /dev/zero >&2; wait"
    assert ended(bench(SH, "-c", script)).output_bytes == 2_000_000


# -- timeout and cancel ----------------------------------------------------------------------


def test_at_its_timeout_the_whole_group_gets_term(bench: Bench, pipe: Pipe) -> None:
    script = f"exec 3> {pipe.path}; sleep 1000 & echo ready >&3; wait"
    found = ended(bench(SH, "-c", script, timeout=BRIEFLY, ready=pipe.wait))
    assert (found.status, found.reason, found.exit_code) == ("timed_out", "timeout", None)
    assert found.error == "not finished after 0.05s; ended by SIGTERM"
    assert pipe.gone()


def test_a_program_that_cleans_up_on_term_has_the_time_to(bench: Bench, pipe: Pipe) -> None:
    # Started after the trap is set, `sleep` could lose the TERM that comes before its exec.
    script = f"exec 3> {pipe.path}; sleep 1000 & trap 'echo bye; exit 5' TERM; echo ready >&3; wait"
    found = ended(bench(SH, "-c", script, timeout=BRIEFLY, ready=pipe.wait))
    assert (found.status, found.exit_code, found.result) == ("timed_out", 5, "bye\n")


def test_a_group_that_ignores_term_is_killed_after_the_grace(bench: Bench, pipe: Pipe) -> None:
    script = f"trap '' TERM; exec 3> {pipe.path}; sleep 1000 & echo ready >&3; wait"
    found = ended(bench(SH, "-c", script, timeout=BRIEFLY, grace=BRIEFLY, ready=pipe.wait))
    assert (found.status, found.error) == ("timed_out", "not finished after 0.05s; ended by SIGKILL")
    assert pipe.gone()


def test_a_program_that_closed_its_streams_is_waited_for(bench: Bench, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    opened: list[int] = []
    script = f"exec 0<&- >&- 2>&-; read line < {go}; exit 7"
    threads: list[threading.Thread] = []

    def release_later() -> None:
        opened.append(os.open(go, os.O_WRONLY))  # returns when the child, its streams closed, reads
        threads.append(threading.Thread(target=os.write, args=(opened[0], b"go\n")))
        threads[0].start()

    assert ended(bench(SH, "-c", script, ready=release_later)).exit_code == 7
    threads[0].join()
    os.close(opened[0])


def test_a_program_that_closed_its_streams_and_lives_on_times_out(bench: Bench, pipe: Pipe) -> None:
    script = f"exec 0<&- >&- 2>&- 3> {pipe.path}; echo ready >&3; exec sleep 1000"
    assert ended(bench(SH, "-c", script, timeout=BRIEFLY, ready=pipe.wait)).status == "timed_out"
    assert pipe.gone()


def test_a_cancel_ends_the_run_like_a_timeout(bench: Bench, pipe: Pipe) -> None:
    # More than a pipe holds goes before the signal, so that the run is under way when it is cancelled.
    script = f"exec 3> {pipe.path}; head -c 500000 /dev/zero; echo ready >&3; exec sleep 1000"

    def cancel_when_ready() -> None:
        pipe.wait()
        bench.cancel.request()

    with meanwhile(cancel_when_ready) as start:
        found = ended(bench(SH, "-c", script, ready=start))
    assert (found.status, found.reason, found.error) == ("cancelled", "cancelled", "cancelled; ended by SIGTERM")
    assert found.output_bytes == 500_000
    assert pipe.gone()


@pytest.mark.parametrize(("why", "reason"), [("cancelled", "cancelled"), ("interrupted", "shutdown")])
def test_what_is_cancelled_before_it_starts_never_starts(bench: Bench, why: Why, reason: str) -> None:
    bench.cancel.request(why)
    found = ended(bench(SH, "-c", "touch started"))
    assert (found.status, found.reason, found.exit_code) == (why, reason, None)
    assert found.error == f"{why} before it started"
    assert (bench.pid, (bench.where / "started").exists()) == (0, False)


def test_a_run_that_the_end_of_the_scheduler_ends_is_interrupted(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request("interrupted")
        bench.cancel.request("cancelled")

    with meanwhile(stop) as start:
        found = ended(bench(SH, "-c", f"exec 3> {pipe.path}; echo ready >&3; exec sleep 1000", ready=start))
    assert (found.status, found.reason, found.exit_code) == ("interrupted", "shutdown", None)
    assert found.error == "interrupted: the scheduler stopped; ended by SIGTERM"
    assert pipe.gone()


def test_a_signal_handler_ends_the_run_of_the_thread_it_interrupts(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, lambda *_: bench.cancel.request("interrupted"))
    try:
        with meanwhile(stop) as start:
            found = ended(bench(SH, "-c", f"exec 3> {pipe.path}; echo ready >&3; exec sleep 1000", ready=start))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found.status == "interrupted"


def test_a_request_whose_ring_is_missed_is_seen_all_the_same(
    pidfd_bench: Bench, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one by a signal that arrives just before its thread blocks: what it would do comes after the wait."""

    class Deaf(Cancel):
        @contextlib.contextmanager
        def listening(self, ring: Callable[[], None]) -> Iterator[None]:
            yield

    def stop() -> None:
        pipe.wait()
        pidfd_bench.cancel.request()

    monkeypatch.setattr("scheduler.machine.reactor._SIGNAL_S", 0.01)
    pidfd_bench.cancel = Deaf()
    with meanwhile(stop) as start:
        found = ended(pidfd_bench(SH, "-c", f"exec 3> {pipe.path}; echo ready >&3; exec sleep 1000", ready=start))
    assert found.status == "cancelled"


def test_without_grace_a_request_kills_at_once(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request(grace=NONE)

    script = f"trap '' TERM; exec 3> {pipe.path}; echo ready >&3; while :; do sleep 1000; done"
    with meanwhile(stop) as start, soon():
        found = ended(bench(SH, "-c", script, ready=start))
    assert (found.status, found.error) == ("cancelled", "cancelled; ended by SIGKILL")
    assert pipe.gone()


def test_a_second_request_brings_the_kill_forward(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request("interrupted", grace=LONG)
        pipe.wait()
        bench.cancel.request(grace=NONE)

    with meanwhile(stop) as start, soon():
        found = ended(bench(SH, "-c", SURVIVES_TERM, "sh", str(pipe.path), ready=start))
    assert (found.status, found.error) == ("interrupted", "interrupted: the scheduler stopped; ended by SIGKILL")
    assert pipe.gone()


def test_a_request_has_a_grace_of_its_own(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request(grace=LONG)

    script = f"exec 3> {pipe.path}; sleep 1000 & trap 'echo bye; exit 5' TERM; echo ready >&3; wait"
    with meanwhile(stop) as start:
        found = ended(bench(SH, "-c", script, grace=NONE, ready=start))
    assert (found.error, found.result) == ("cancelled; exit code 5", "bye\n")


def test_a_second_request_does_not_put_the_kill_back(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request(grace=BRIEFLY)
        bench.cancel.request(grace=LONG)

    with meanwhile(stop) as start, soon():
        found = ended(bench(SH, "-c", SURVIVES_TERM, "sh", str(pipe.path), grace=LONG, ready=start))
    assert found.error == "cancelled; ended by SIGKILL"


def test_a_request_after_the_timeout_hastens_the_kill_and_the_run_has_timed_out(bench: Bench, pipe: Pipe) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request(grace=NONE)

    def ready() -> None:
        pipe.wait()
        start()

    with meanwhile(stop) as start, soon():
        found = ended(bench(SH, "-c", SURVIVES_TERM, "sh", str(pipe.path), timeout=BRIEFLY, grace=LONG, ready=ready))
    assert (found.status, found.error) == ("timed_out", "not finished after 0.05s; ended by SIGKILL")
    assert pipe.gone()


def test_a_second_request_kills_what_outlives_its_leader(bench: Bench, pipe: Pipe, tmp_path: Path) -> None:
    def stop() -> None:
        pipe.wait()
        bench.cancel.request(grace=LONG)
        pipe.wait()
        bench.cancel.request(grace=NONE)

    life = tmp_path / "life"  # the leader holds it: its end is seen by the one that it leaves behind
    os.mkfifo(life)
    script = f"""(trap '' TERM; exec 3> {pipe.path} 5< {life}; echo ready >&3; read x <&5; echo alone >&3
                  exec sleep 1000) & exec 4> {life}; exec sleep 1000"""
    with meanwhile(stop) as start, soon():
        found = ended(bench(SH, "-c", script, ready=start))
    assert (found.status, found.error) == ("cancelled", "cancelled; ended by SIGTERM")
    assert pipe.gone()


@needs_pidfd
def test_a_run_that_has_ended_before_its_cancel_is_seen_is_not_cancelled(pidfd_bench: Bench) -> None:
    def cancel_at_the_end() -> None:
        os.waitid(os.P_PID, pidfd_bench.pid, os.WEXITED | os.WNOWAIT)
        pidfd_bench.cancel.request()

    assert ended(pidfd_bench(SH, "-c", "echo done", ready=cancel_at_the_end)).status == "succeeded"


def test_a_timeout_of_months_is_no_error(bench: Bench) -> None:
    assert ended(bench(SH, "-c", "cat", stdin=b"x", timeout=timedelta(days=400))).result == "x"


def test_a_program_that_stopped_itself_hears_its_timeout(bench: Bench) -> None:
    script = "trap 'echo bye; exit 5' TERM; kill -STOP $$; echo went on"
    with soon():
        found = ended(bench(SH, "-c", script, timeout=BRIEFLY, grace=LONG))
    assert (found.status, found.exit_code, found.result) == ("timed_out", 5, "bye\n")


def test_a_program_that_never_reads_a_huge_input_times_out(bench: Bench, pipe: Pipe) -> None:
    script = f"exec 3> {pipe.path}; echo ready >&3; exec sleep 1000"
    found = ended(bench(SH, "-c", script, stdin=b"x" * 3_000_000, timeout=BRIEFLY, ready=pipe.wait))
    assert (found.status, found.error) == ("timed_out", "not finished after 0.05s; ended by SIGTERM")
    assert pipe.gone()


def test_where_low_numbers_are_taken_descriptors_above_1024_do(pidfd_bench: Bench) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs to open 2,048 files")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    taken: list[int] = []
    try:
        while not taken or taken[-1] < 1100:
            taken.append(os.dup(0))
        data = os.urandom(300_000)
        assert ended(pidfd_bench(shutil.which("cat") or "cat", stdin=data)).status == "succeeded"
        assert pidfd_bench.stdout == data
    finally:
        for each in taken:
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- what a leader leaves behind -------------------------------------------------------------


def test_a_background_child_that_holds_the_output_is_ended_with_its_leader(bench: Bench, pipe: Pipe) -> None:
    found = ended(bench(SH, "-c", f"exec 3> {pipe.path}; sleep 1000 & echo done"))
    assert (found.status, found.result) == ("succeeded", "done\n")
    assert pipe.gone()


def test_a_grandchild_whose_parent_is_gone_is_ended_with_the_group(bench: Bench, pipe: Pipe) -> None:
    """Forked twice, as daemons are, and still of the group."""
    found = ended(bench(SH, "-c", f"(exec 3> {pipe.path}; sleep 1000 >/dev/null 2>&1 &) ; exit 0"))
    assert found.status == "succeeded"
    assert pipe.gone()


def test_grandchildren_are_ended_at_a_timeout_also_those_that_ignore_term(bench: Bench, pipe: Pipe) -> None:
    script = f"exec 3> {pipe.path}; (trap '' TERM; sleep 1000 & sleep 1000) & sleep 1000 & echo ready >&3; wait"
    found = ended(bench(SH, "-c", script, timeout=BRIEFLY, grace=BRIEFLY, ready=pipe.wait))
    assert found.status == "timed_out"
    assert pipe.gone()


def test_what_left_the_group_and_writes_without_end_does_not_hold_up_the_run(bench: Bench, pipe: Pipe) -> None:
    left = f"exec 3> {pipe.path}; echo $$ > pid; echo ready >&3; exec yes"
    code = f"import fcntl, struct, subprocess as s, termios; s.Popen({[SH, '-c', left]!r}, start_new_session=True)\n"
    code += f"open({str(pipe.path)!r}).read(1)\n"
    # It ends when more than the limit lies unread in its output, however late the other begins to write.
    code += "while struct.unpack('i', fcntl.ioctl(1, termios.FIONREAD, bytes(4)))[0] < 20_000: pass"
    os.set_blocking(pipe.reader, False)
    with soon():
        found = ended(bench(sys.executable, "-W", "ignore", "-c", code, limit=20_000))
    os.kill(int((bench.where / "pid").read_text()), signal.SIGKILL)
    assert (found.status, found.truncated) == ("succeeded", True)
    assert len(bench.stdout) < 20_000
    assert pipe.gone()


def test_a_background_child_that_ignores_term_is_killed(bench: Bench, pipe: Pipe) -> None:
    script = f"exec 3> {pipe.path}; trap '' TERM; sleep 1000 >/dev/null 2>&1 & exit 4"
    found = ended(bench(SH, "-c", script, grace=BRIEFLY))
    assert (found.status, found.exit_code) == ("failed", 4)
    assert pipe.gone()


def test_what_outlives_its_leader_is_waited_for_without_haste(
    bench: Bench, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float | None] = []

    class Selector(selectors.DefaultSelector):
        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            looks.append(timeout)
            return super().select(timeout)

    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    script = f"exec 3> {pipe.path}; trap '' TERM; sleep 1000 >/dev/null 2>&1 & exit 4"
    ended(bench(SH, "-c", script, grace=4 * BRIEFLY))
    assert len(looks) < 20


def test_what_a_background_child_writes_as_it_ends_is_kept(bench: Bench, pipe: Pipe) -> None:
    script = f"(exec 3> {pipe.path}; sleep 1000 & trap 'echo last; exit' TERM; echo ready >&3; wait) & read line < go"
    os.mkfifo(bench.where / "go")

    def release() -> None:
        pipe.wait()
        (bench.where / "go").write_bytes(b"go\n")

    assert ended(bench(SH, "-c", script, ready=release)).result == "last\n"


def test_a_process_that_left_the_group_does_not_hold_up_the_run(bench: Bench) -> None:
    script = (
        "import subprocess; print(subprocess.Popen(['/bin/sh', '-c', 'exec sleep 1000'], start_new_session=True).pid)"
    )
    found = ended(bench(sys.executable, "-W", "ignore", "-c", script))
    stray = int(str(found.result))
    os.kill(stray, 0)
    os.kill(stray, signal.SIGKILL)
    assert found.status == "succeeded"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_a_group_of_zombies_is_not_alive() -> None:
    with subprocess.Popen([SH, "-c", "read line"], stdin=subprocess.PIPE, start_new_session=True) as child:
        assert has_living_member(child.pid)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not has_living_member(child.pid)


# -- what does not start ---------------------------------------------------------------------


ELF_OF_ANOTHER_MACHINE = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xff\xfe\x01\x00\x00\x00" + bytes(100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/no/such/interpreter\n", "interpreter '/no/such/interpreter' in its first line does not exist"),
        (b"#!\t/no/such\t-x\n", "interpreter '/no/such' in its first line does not exist"),
        (b"#!/bin/sh\r\nexit\r\n", "interpreter '/bin/sh\\r' in its first line does not exist; save it"),
        (b"#!/etc/passwd\n", "interpreter '/etc/passwd' in its first line is not executable"),
        (b"echo no first line\n", "it is neither a program nor a script with a first line"),
        (b"\xef\xbb\xbf#!/bin/sh\n", "it is neither a program nor a script"),
        (b"", "it is empty"),
        (ELF_OF_ANOTHER_MACHINE, "it is built for another kind of machine"),
    ],
    ids=["gone", "gone, tabs", "CRLF", "no program", "no shebang", "BOM", "empty", "another machine"],
)
def test_a_program_that_the_kernel_does_not_take_does_not_start_and_says_what_is_wrong_with_it(
    pidfd_bench: Bench, content: bytes, words: str
) -> None:
    path = program(pidfd_bench.where / "x")
    path.write_bytes(content)
    found = refused(pidfd_bench(str(path)))
    assert found.reason == "runner_start_failed"
    assert f"{str(path)!r} could not be started: " in found.message
    assert words in found.message


def test_a_program_that_is_being_written_does_not_start(pidfd_bench: Bench) -> None:
    path = program(pidfd_bench.where / "x")
    with path.open("ab"):
        found = refused(pidfd_bench(str(path)))
    assert (found.reason, "Text file busy" in found.message) == ("runner_start_failed", True)


def test_a_file_that_is_not_executable_does_not_start_and_leaves_nothing(bench: Bench) -> None:
    (bench.where / "x").write_text("text")
    found = refused(bench(str(bench.where / "x"), task_file=b"x"))
    assert (found.reason, "Permission denied" in found.message) == ("runner_start_failed", True)
    assert sorted(bench.where.rglob("*")) == [bench.where / "scratch", bench.where / "x"]
    assert bench.pid == 0


@pytest.mark.parametrize(
    ("argument", "env"), [("a\0b", {}), ("x" * 200_000, {}), ("x", {"A=B": "x"}), ("x", {"A": "\0"})]
)
def test_arguments_and_variables_the_kernel_cannot_take_do_not_start(
    bench: Bench, argument: str, env: dict[str, str]
) -> None:
    assert refused(bench(SH, "-c", "exit 0", argument, env=env)).reason == "runner_start_failed"


def test_a_working_directory_gone_meanwhile_has_its_own_reason(bench: Bench) -> None:
    assert refused(bench(SH, "-c", "exit 0", cwd=bench.where / "gone")).reason == "runner_cwd_missing"


def test_a_run_whose_output_cannot_be_kept_runs_and_says_so(bench: Bench) -> None:
    (bench.where / "stderr").mkdir()
    found = ended(bench(SH, "-c", "echo fine; echo lost >&2"))
    assert (found.status, found.result, found.truncated) == ("succeeded", "fine\n", True)
    assert found.error is not None
    assert found.error.startswith("output could not be saved: ")


def test_nothing_runs_on_when_its_pid_could_not_be_noted(bench: Bench, pipe: Pipe) -> None:
    def fail() -> None:
        pipe.wait()
        raise RuntimeError("the database is gone")

    with pytest.raises(RuntimeError, match="the database is gone"):
        bench(SH, "-c", f"trap '' TERM; exec 3> {pipe.path}; sleep 1000 & echo ready >&3; wait", ready=fail)
    assert pipe.gone()


def test_prepared_and_executed_the_hashed_bytes_are_what_runs(root: Path, bench: Bench) -> None:
    text = b'printf "%s\\n" "$SCHEDULER_RUN_ID" "$PWD"\ncat "$0"\n'
    given = replace(context(), task_sha256=hashlib.sha256(text).hexdigest())
    using = runner("sh", "-eu", "{task_file}", input=TaskInput.FILE, tasks=("scripts/**",))
    invocation = prepared(prepare(Tools(using, root, {"PATH": BASE}), SPEC, task(text), given))
    found = ended(bench(*invocation.argv, env=invocation.env, cwd=invocation.cwd, task_file=invocation.task_file))
    run_id, pwd, echoed = str(found.result).split("\n", 2)
    assert (run_id, pwd) == ("a:7", str(root))
    assert hashlib.sha256(echoed.encode()).hexdigest() == invocation.env["SCHEDULER_TASK_SHA256"]
