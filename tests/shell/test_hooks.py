"""Git hooks of a real repository, run by git itself."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from scheduler.core.values.problems import RefusedError, UnavailableError
from scheduler.root.place import Place
from scheduler.service.hooks import NAMES, Hooks, hook_states, install_hooks, uninstall_hooks
from scheduler.service.root import Root
from tests.helpers import git, settle_environment
from tests.shell.live import live, until

LOG = '#!/bin/sh\necho "$0 $*" >> "$PWD/log"\n'


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settle_environment(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A repository with one commit, in a folder whose name is hard to quote."""
    found = tmp_path / 'it\'s a "repo" $HOME'
    found.mkdir()
    git(found, "init", "-q", "--template=")
    (found / ".gitignore").write_text(".scheduler/\nlog\n")
    git(found, "add", "-A")
    git(found, "commit", "-qm", "first")
    return found


def root_at(folder: Path, state: Path | None = None, *, awake: bool = True) -> Root:
    """A root; with the file that a daemon makes, dated long ago."""
    folder.mkdir(exist_ok=True)
    (folder / "scheduler.yaml").write_text("version: 1\n")
    state = state or folder / ".scheduler"
    place = Place(root=Path(os.path.realpath(folder)), state=state, db=state / "state.db")
    root = Root(place=place, actor="user:test", environ={})
    if awake:
        state.mkdir()
        sleep(root)
    return root


def sleep(root: Root) -> None:
    root.place.wake.touch()
    os.utime(root.place.wake, (1, 1))


def woken(root: Root) -> bool:
    return root.place.wake.stat().st_mtime > 1


def told(found: Hooks) -> set[str]:
    return {each.status for each in found.hooks}


def write(path: Path, text: str, mode: int = 0o755) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def commit(top: Path) -> None:
    git(top, "commit", "-q", "--allow-empty", "-m", "x")


def test_a_commit_a_checkout_a_merge_and_a_rewrite_wake_the_root(top: Path) -> None:
    root = root_at(top / "sub folder")
    assert told(hook_states(root)) == {"absent"}
    assert told(install_hooks(root)) == {"installed"}
    commit(top)
    assert woken(root)
    for command in (
        ("switch", "-qc", "side"),
        ("commit", "-q", "--amend", "--allow-empty", "-m", "y"),
        ("switch", "-q", "-"),
        ("merge", "-q", "--no-edit", "side"),
    ):
        sleep(root)
        git(top, *command)
        assert woken(root), command


def test_installing_twice_changes_nothing_and_uninstalling_leaves_nothing(top: Path) -> None:
    root = root_at(top)
    first = install_hooks(root)
    assert all(each.changed for each in first.hooks)
    before = {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    assert not any(each.changed for each in install_hooks(root).hooks)
    assert {path.name: path.stat().st_mtime_ns for path in first.folder.iterdir()} == before
    assert set(before) == set(NAMES)
    assert told(uninstall_hooks(root)) == {"absent"}
    assert list(first.folder.iterdir()) == []
    assert not any(each.changed for each in uninstall_hooks(root).hooks)


@pytest.mark.parametrize("shebang", ["#!/bin/sh", "#!/usr/bin/env bash", "#!/bin/sh -e", "#!/usr/bin/env python3"])
def test_a_hook_that_was_there_is_run_with_its_arguments_and_its_exit_code(top: Path, shebang: str) -> None:
    body = 'echo "$@" > log\nexit 7\n'
    if "python" in shebang:
        body = "import sys\nopen('log', 'w').write(' '.join(sys.argv[1:]) + '\\n')\nsys.exit(7)\n"
    path = top / ".git/hooks/post-checkout"
    write(path, f"{shebang}\n{body}")
    root = root_at(top)
    found = install_hooks(root)
    assert {each.name: each.kept for each in found.hooks}["post-checkout"]
    done = subprocess.run(["git", "-C", top, "switch", "-qc", "side"], check=False, capture_output=True)
    head = git(top, "rev-parse", "HEAD")
    assert done.returncode != 0, "post-checkout decides it"
    assert (top / "log").read_text() == f"{head} {head} 1\n"
    assert woken(root)
    hook = ".git/hooks/post-checkout"
    assert subprocess.run([hook, "a b", "c"], check=False, cwd=top).returncode == 7
    assert (top / "log").read_text() == "a b c\n"


def test_a_shell_hook_still_sees_its_own_name_and_folder(top: Path) -> None:
    write(top / ".git/hooks/post-commit", LOG)
    install_hooks(root_at(top))
    commit(top)
    assert (top / "log").read_text() == ".git/hooks/post-commit \n"


def test_what_a_rewrite_tells_on_standard_input_reaches_the_hook_that_was_there(top: Path) -> None:
    write(top / ".git/hooks/post-rewrite", "#!/bin/sh\ncat > log\n")
    root = root_at(top)
    install_hooks(root)
    before = git(top, "rev-parse", "HEAD")
    git(top, "commit", "-q", "--amend", "-m", "other")
    assert (top / "log").read_text() == f"{before} {git(top, 'rev-parse', 'HEAD')}\n"


@pytest.mark.parametrize("kind", ["script", "not executable", "symlink", "broken symlink", "bytes"])
def test_uninstalling_puts_back_exactly_what_was_there(top: Path, kind: str) -> None:
    path = top / ".git/hooks/post-commit"
    write(path, LOG, 0o640 if kind == "not executable" else 0o751)
    if "symlink" in kind:
        path.rename(top / ".git/real-hook")
        path.symlink_to("../real-hook" if kind == "symlink" else "../nothing")
    if kind == "bytes":
        path.write_bytes(b"\x7fELF\xff\x00")
    before = path.lstat()
    data = path.read_bytes() if path.exists() else b""
    root = root_at(top)
    install_hooks(root)
    git(top, "commit", "-q", "--allow-empty", "-m", "x")
    assert woken(root)
    assert (top / "log").exists() is (kind in ("script", "symlink"))
    uninstall_hooks(root)
    after = path.lstat()
    assert (after.st_ino, after.st_mode, after.st_mtime_ns) == (before.st_ino, before.st_mode, before.st_mtime_ns)
    assert (path.read_bytes() if path.exists() else b"") == data
    assert [each.name for each in path.parent.iterdir()] == ["post-commit"]


def test_several_roots_of_one_repository_are_woken_each_and_leave_one_by_one(top: Path, tmp_path: Path) -> None:
    write(top / ".git/hooks/post-commit", LOG)
    one, other = root_at(top / "one"), root_at(top / "other", tmp_path / "state of\nit's own")
    install_hooks(one)
    assert told(hook_states(other)) == {"absent"}
    install_hooks(other)
    commit(top)
    assert woken(one)
    assert woken(other)
    assert told(hook_states(one)) == told(hook_states(other)) == {"installed"}
    uninstall_hooks(one)
    sleep(one)
    sleep(other)
    commit(top)
    assert (woken(one), woken(other)) == (False, True)
    uninstall_hooks(other)
    assert (top / ".git/hooks/post-commit").read_text() == LOG


def test_an_install_that_was_cut_off_is_finished_by_the_next(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = top / ".git/hooks/post-commit"
    write(path, LOG)
    root = root_at(top)
    with monkeypatch.context() as patch:
        patch.setattr("scheduler.service.hooks._write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            install_hooks(root)
    assert path.read_text() == LOG
    assert told(install_hooks(root)) == {"installed"}
    commit(top)
    assert (top / "log").exists()
    uninstall_hooks(root)
    assert [each.name for each in path.parent.iterdir()] == ["post-commit"]


def test_without_hard_links_a_hook_is_kept_all_the_same(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write(top / ".git/hooks/post-commit", LOG)
    root = root_at(top)
    assert told(install_hooks(root)) == {"installed"}
    uninstall_hooks(root)
    assert (top / ".git/hooks/post-commit").read_text() == LOG


def test_without_a_daemon_or_a_root_a_commit_is_as_ever_and_nothing_is_left_behind(top: Path, tmp_path: Path) -> None:
    root = root_at(top / "sub", tmp_path / "state", awake=False)
    install_hooks(root)
    done = subprocess.run(
        ["git", "-C", top, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "-q", "--allow-empty", "-m", "x"],
        check=True, capture_output=True,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == (b"", b"")
    assert not root.place.state.exists()
    gone, left = root, root_at(top / "left")
    install_hooks(left)
    uninstall_hooks(left)
    assert not list((top / ".git/hooks").iterdir()), f"{gone.place.root} is gone: it keeps no hook for ever"


def test_a_relative_hooks_path_is_honoured_in_each_working_tree(top: Path, tmp_path: Path) -> None:
    git(top, "config", "core.hooksPath", "my hooks")
    root = root_at(top / "sub")
    assert install_hooks(root).folder == Path(os.path.realpath(top / "my hooks"))
    git(top, "commit", "-q", "--allow-empty", "-m", "x")
    assert woken(root)


def test_a_linked_working_tree_shares_the_hooks(top: Path, tmp_path: Path) -> None:
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    root = root_at(tmp_path / "linked")
    assert install_hooks(root).folder == Path(os.path.realpath(top / ".git/hooks"))
    commit(tmp_path / "linked")
    assert woken(root)


@pytest.mark.parametrize("named", ["~/hooks", "/dev/null", ""])
def test_hooks_of_other_repositories_are_left_alone(top: Path, home: Path, named: str) -> None:
    (home / ".gitconfig").write_text(f'[core]\n\thooksPath = "{named}"\n')
    root = root_at(top)
    for act in (install_hooks, uninstall_hooks, hook_states):
        with pytest.raises(RefusedError, match=r"core\.hooksPath"):
            act(root)
    assert not (home / "hooks").exists()


def test_outside_a_repository_there_are_no_hooks(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="not in a git repository"):
        install_hooks(root_at(tmp_path / "alone"))


def test_a_hook_that_somebody_put_in_our_place_is_foreign_and_neither_is_lost(top: Path) -> None:
    path = top / ".git/hooks/post-commit"
    write(path, LOG)
    root = root_at(top)
    install_hooks(root)
    write(path, "#!/bin/sh\n:\n")
    assert {each.name: each.status for each in hook_states(root).hooks}["post-commit"] == "foreign"
    with pytest.raises(RefusedError, match="was replaced after"):
        install_hooks(root)
    uninstall_hooks(root)
    assert path.read_text() == "#!/bin/sh\n:\n"
    assert path.with_name("post-commit.kept-by-scheduler").read_text() == LOG


@pytest.mark.parametrize("how", ["edited", "not executable", "wakes nobody can read"])
def test_one_of_ours_that_is_not_as_it_should_be_is_outdated_or_absent_and_written_anew(top: Path, how: str) -> None:
    root = root_at(top)
    path = install_hooks(root).folder / "post-merge"
    text = path.read_text()
    if how == "edited":
        path.write_text(text + "echo more\n")
    elif how == "not executable":
        path.chmod(0o644)
    else:
        path.write_text(text.replace("# wakes: [", "# wakes: ["[:-1]))
    found = {each.name: each.status for each in hook_states(root).hooks}
    assert found["post-merge"] == ("absent" if how.startswith("wakes") else "outdated")
    assert found["post-commit"] == "installed"
    assert told(install_hooks(root)) == {"installed"}
    assert path.read_text() == text
    aside = path.with_name("post-merge.outdated-by-scheduler")
    assert aside.exists() is (how != "not executable")
    if how == "edited":
        assert aside.read_text() == text + "echo more\n"


def test_uninstalling_loses_no_line_that_somebody_wrote_into_our_hook(top: Path) -> None:
    root = root_at(top)
    path = install_hooks(root).folder / "post-merge"
    with path.open("a") as file:
        file.write("echo more\n")
    uninstall_hooks(root)
    assert not path.exists()
    assert path.with_name("post-merge.outdated-by-scheduler").read_text().endswith("echo more\n")


def test_a_hook_manager_that_finds_its_parts_by_its_own_name_and_folder_still_does(top: Path) -> None:
    (top / ".hooks").mkdir()
    write(top / ".hooks/_/post-commit", '#!/usr/bin/env sh\n. "$(dirname "$0")/h"\n')
    (top / ".hooks/_/h").write_text('sh -e "$(dirname "$(dirname "$0")")/$(basename "$0")" "$@"\n')
    (top / ".hooks/post-commit").write_text("echo part > log\n")
    git(top, "config", "core.hooksPath", ".hooks/_")
    root = root_at(top)
    install_hooks(root)
    commit(top)
    assert woken(root)
    assert (top / "log").read_text() == "part\n"


def test_a_hook_costs_a_commit_less_than_50_ms(top: Path) -> None:
    root = root_at(top)
    hook = install_hooks(root).folder / "post-commit"

    def once() -> float:
        began = time.monotonic()
        subprocess.run([hook], check=True)
        return time.monotonic() - began

    assert min(once() for _ in range(10)) < 0.05


@pytest.mark.parametrize("where", ["in the root", "elsewhere, by a link"])
def test_a_daemon_makes_the_file_and_looks_at_once_when_a_hook_touches_it(
    top: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    state = None
    if where != "in the root":
        (tmp_path / "real state").mkdir()
        state = tmp_path / "state"
        state.symlink_to("real state")
    root = root_at(top / "sub", state, awake=False)
    install_hooks(root)

    def looks() -> int:
        return len([each for each in caplog.records if each.message.startswith("synced")])

    with live(root.place.root, state=state):
        assert root.place.wake.exists()
        before = looks()
        subprocess.run([top / ".git/hooks/post-commit"], check=True, cwd=top)
        until(lambda: looks() > before, "the look")
