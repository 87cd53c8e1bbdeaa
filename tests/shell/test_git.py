"""Real git on real repositories, some of them hostile. Plain git springs each trap first, to show that it works."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scheduler.core.values.facts import Provenance
from scheduler.core.values.problems import UnavailableError
from scheduler.git.folder import index_lock, ref_files, under_way
from scheduler.git.run import GitError, run_git, stream_git
from scheduler.git.tree import Commits, Tree, head, read_tree
from tests.helpers import GIT, git, settle_environment

ODD = "a folder/b\"c\n'd é *?[x].md"


def provenance(root: Path, path: str, data: bytes) -> Provenance:
    """As at fire time: of one path."""
    return read_tree(root, path).provenance(path, data)


def write(root: Path, path: str, data: bytes) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(data)


def commit(root: Path, **files: bytes) -> str:
    for path, data in files.items():
        write(root, path, data)
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x", "--allow-empty")
    return git(root, "rev-parse", "HEAD")


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settle_environment(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    where = tmp_path / "root"
    where.mkdir()
    git(where, "init", "-q")
    return where


@pytest.fixture
def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a shell script in git's place."""

    def install(text: str) -> None:
        script(tmp_path / "bin/git", text)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")

    return install


# -- provenance ------------------------------------------------------------------------------


def test_a_committed_file_has_the_blob_of_head_and_is_not_dirty(root: Path) -> None:
    revision = commit(root, a=b"text\n")
    expected = Provenance(revision=revision, blob=git(root, "rev-parse", "HEAD:a"), dirty=None)
    assert read_tree(root).provenance("a", b"text\n") == expected
    assert provenance(root, "a", b"text\n") == expected
    assert head(root) == revision


def test_other_bytes_than_the_blobs_are_modified(root: Path) -> None:
    revision = commit(root, a=b"text\n")
    expected = Provenance(revision=revision, blob=git(root, "rev-parse", "HEAD:a"), dirty="modified")
    assert read_tree(root).provenance("a", b"text") == expected
    assert provenance(root, "a", b"text") == expected


def test_the_bytes_decide_and_not_the_index(root: Path) -> None:
    commit(root, a=b"old")
    write(root, "a", b"new")
    git(root, "update-index", "--assume-unchanged", "a")
    assert provenance(root, "a", b"new").dirty == "modified"


def test_a_file_head_does_not_hold_is_untracked_even_when_staged(root: Path) -> None:
    revision = commit(root, a=b"text")
    write(root, "b", b"text")
    git(root, "add", "b")
    expected = Provenance(revision=revision, blob=None, dirty="untracked")
    assert read_tree(root).provenance("b", b"text") == expected
    assert provenance(root, "b", b"text") == expected


def test_an_unborn_head_has_no_revision_and_everything_is_untracked(root: Path) -> None:
    write(root, "a", b"text")
    expected = Provenance(revision=None, blob=None, dirty="untracked")
    assert read_tree(root) == Tree(in_repository=True)
    assert read_tree(root).provenance("a", b"text") == expected
    assert provenance(root, "a", b"text") == expected
    assert head(root) is None


def test_outside_a_repository_nothing_is_known_and_people_are_told_why(tmp_path: Path) -> None:
    tree = read_tree(tmp_path)
    assert tree.provenance("a", b"text") == Provenance()
    assert provenance(tmp_path, "a", b"text") == Provenance()
    assert head(tmp_path) is None
    assert tree.why_unavailable == f"{str(tmp_path)!r} is not in a git repository"
    assert tree.provenance("a", b"text").why_none == tree.why_unavailable


def test_without_git_nothing_is_known_and_people_are_told_why(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit(root, a=b"text")
    monkeypatch.setenv("PATH", str(root))
    assert read_tree(root).why_unavailable == "git is not installed, or not on PATH"
    assert provenance(root, "a", b"text") == Provenance()
    assert head(root) is None


def test_a_commit_that_is_missing_from_the_repository_is_not_an_empty_one(root: Path) -> None:
    (root / ".git/refs/heads/main").write_text("1" * 40 + "\n")
    tree = read_tree(root)
    assert not tree.in_repository
    assert tree.why_unavailable == "git ls-tree failed: not a tree object"


def test_paths_are_relative_to_a_root_below_the_repositorys_top(root: Path) -> None:
    revision = commit(root, **{"a": b"outer", "sub/a": b"inner", "subway": b"x"})
    tree = read_tree(root / "sub")
    assert tree.blobs == {"a": git(root, "rev-parse", "HEAD:sub/a")}
    assert tree.provenance("a", b"inner").dirty is None
    expected = Provenance(revision=revision, blob=tree.blobs["a"], dirty=None)
    assert provenance(root / "sub", "a", b"inner") == expected


def test_a_root_that_head_does_not_hold_has_a_revision_and_no_blobs(root: Path) -> None:
    revision = commit(root, a=b"x")
    (root / "new").mkdir()
    assert read_tree(root / "new") == Tree(revision=revision, in_repository=True)
    assert provenance(root / "new", "a", b"x").dirty == "untracked"


@pytest.mark.parametrize("path", [ODD, "-n", ":(glob)**", "über/naïve", "tab\there", "trailing "])
def test_odd_names_are_only_names(tmp_path: Path, path: str) -> None:
    root = tmp_path / "a root\nwith 'odd' \"näme\""
    root.mkdir()
    git(root, "init", "-q")
    revision = commit(root, **{path: b"odd", "plain": b"plain"})
    expected = Provenance(revision=revision, blob=read_tree(root).blobs[path], dirty=None)
    assert provenance(root, path, b"odd") == expected
    assert set(read_tree(root).blobs) == {path, "plain"}


def test_a_name_that_is_not_utf8_is_found_under_the_name_python_gives_it(root: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    commit(root, **{name: b"x"})
    assert [name] == [each for each in os.listdir(root) if each != ".git"]  # noqa: PTH208
    assert provenance(root, name, b"x").dirty is None


def test_a_sha256_repository_is_compared_by_sha256(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    revision = commit(tmp_path, a=b"text")
    found = provenance(tmp_path, "a", b"text")
    assert len(revision) == 64
    assert found == Provenance(revision=revision, blob=git(tmp_path, "rev-parse", "HEAD:a"), dirty=None)
    assert provenance(tmp_path, "a", b"texT").dirty == "modified"


def test_a_linked_worktree_has_its_own_head(root: Path, tmp_path: Path) -> None:
    commit(root, a=b"1")
    git(root, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    revision = commit(tmp_path / "side", a=b"2")
    assert head(tmp_path / "side") == revision != head(root)
    assert provenance(tmp_path / "side", "a", b"2").dirty is None


def test_one_file_takes_two_calls_of_one_head(root: Path, tmp_path: Path, fake_git: Callable[[str], None]) -> None:
    first = commit(root, a=b"1")
    second = commit(root, a=b"2")
    git(root, "reset", "-q", "--hard", first)
    move_head = f"{GIT} -C {root} update-ref HEAD {second}"
    fake_git(f'echo call >> {tmp_path}/calls; {GIT} "$@"; s=$?; case "$*" in *rev-parse*) {move_head};; esac; exit $s')
    found = provenance(root, "a", b"1")
    assert found == Provenance(revision=first, blob=git(root, "rev-parse", f"{first}:a"), dirty=None)
    assert (tmp_path / "calls").read_text().count("call") == 2
    assert head(root) == second


def test_a_replaced_commit_does_not_show_another_tree(root: Path) -> None:
    first = commit(root, a=b"1")
    git(root, "replace", first, commit(root, a=b"2"))
    git(root, "reset", "-q", "--hard", first)
    assert git(root, "show", "HEAD:a") == "2"
    assert provenance(root, "a", b"1").dirty is None


# -- what git itself converts ------------------------------------------------------------------


def converted(root: Path, path: str = "a") -> str | None:
    return read_tree(root).provenance(path, (root / path).read_bytes()).dirty


def checked_out(root: Path, data: bytes, attributes: str = "", *, path: str = "a", **settings: str) -> None:
    """Commits a file, then has git write it anew by these attributes and settings."""
    commit(root, **{path: data})
    if attributes:
        commit(root, **{".gitattributes": attributes.encode()})
    for name, value in settings.items():
        git(root, "config", name.replace("_", "."), value)
    (root / path).unlink()
    git(root, "checkout", "-q", "--", path)


@pytest.mark.parametrize(
    ("attributes", "settings"),
    [
        ("", {"core_autocrlf": "true"}),
        ("* text=auto eol=crlf", {}),
        ("* text eol=crlf", {}),
        ("* eol=crlf", {}),
        ("*.md -text\n* text=auto", {"core_eol": "crlf"}),
        ("[attr]lines text eol=crlf\n* lines", {}),
    ],
)
def test_line_ends_that_a_checkout_made_are_converted(root: Path, attributes: str, settings: dict[str, str]) -> None:
    checked_out(root, b"one\ntwo\n", attributes, **settings)
    assert (root / "a").read_bytes() == b"one\r\ntwo\r\n", "git has converted it"
    assert converted(root) == "converted"
    write(root, "a", b"one\r\nthree\r\n")
    assert converted(root) == "modified"


@pytest.mark.parametrize("attributes", ["", "* -text", "* binary", "* text=auto\na -text"])
def test_line_ends_that_nobody_would_convert_are_a_modification(root: Path, attributes: str) -> None:
    checked_out(root, b"one\ntwo\n", attributes)
    assert converted(root) is None
    write(root, "a", b"one\r\ntwo\r\n")
    assert git(root, "status", "--porcelain") == "M a", "as git says"
    assert converted(root) == "modified"


def test_with_autocrlf_what_git_takes_for_binary_is_a_modification(root: Path) -> None:
    checked_out(root, b"one\ntwo\0\n", core_autocrlf="true")
    assert converted(root) is None
    write(root, "a", b"one\r\ntwo\0\r\n")
    assert converted(root) == "modified"


def test_an_expanded_keyword_is_converted_where_git_expands_it(root: Path) -> None:
    checked_out(root, b"$Id$\ntext\n", "a ident")
    assert (root / "a").read_bytes().startswith(b"$Id: ")
    assert converted(root) == "converted"
    write(root, "b", b"$Id$\n")
    commit(root)
    write(root, "b", b"$Id: 1 $\n")
    assert converted(root, "b") == "modified"


def test_what_git_lfs_has_put_in_a_pointers_place_is_converted(root: Path) -> None:
    data = b"a large prompt\n"
    sha256 = hashlib.sha256(data).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(data)}\n"
    commit(root, a=pointer.encode(), **{".gitattributes": b"a filter=lfs\n"})
    write(root, "a", data)
    assert converted(root) == "converted"
    write(root, "a", data + b"x")
    assert converted(root) == "modified"


def test_no_filter_program_is_started_and_what_only_it_could_tell_is_modified(root: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    trap = script(tmp_path / "trap", f"touch {marker}; tr -d '\\r'")
    for name in ("clean", "smudge"):
        git(root, "config", f"filter.odd.{name}", str(trap))
    commit(root, a=b"one\n", **{".gitattributes": b"a filter=odd text\n"})
    write(root, "a", b"one\r\n")
    git(root, "status")
    marker.unlink()
    assert converted(root) == "modified"
    assert not marker.exists()


@pytest.mark.parametrize("path", [ODD, "-n", "über/naïve", "tab\there"])
def test_odd_names_are_converted_too(root: Path, path: str) -> None:
    checked_out(root, b"one\n", "* text eol=crlf", path=path)
    assert converted(root, path) == "converted"


def test_below_the_top_attributes_count_as_well(root: Path) -> None:
    checked_out(root, b"one\n", "sub/* text eol=crlf", path="sub/a")
    assert read_tree(root / "sub").provenance("a", b"one\r\n").dirty == "converted"


def test_a_checkout_of_many_converted_files_asks_git_once(root: Path, asked: list[str]) -> None:
    for n in range(40):
        write(root, f"f{n}", b"one\n")
    commit(root, **{".gitattributes": b"* text eol=crlf\n"})
    tree = read_tree(root)
    assert {tree.provenance(f"f{n}", b"one\r\n").dirty for n in range(40)} == {"converted"}
    assert asked == ["rev-parse", "ls-tree", "config", "check-attr"]


# -- one function runs git -------------------------------------------------------------------


def test_variables_from_outside_do_not_choose_another_repository(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    git(other, "init", "-q")
    elsewhere, here = commit(other, a=b"other"), commit(root, a=b"mine")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert git(root, "rev-parse", "HEAD") == elsewhere
    assert head(root) == here
    assert provenance(root, "a", b"mine").dirty is None


def test_the_environment_is_hardened_and_messages_are_english(
    root: Path, fake_git: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TRACE", "/dev/stderr")
    monkeypatch.setenv("GIT_SSH_COMMAND", "false")
    monkeypatch.setenv("SSH_ASKPASS", "false")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    fake_git("env")
    lines = run_git(root, "version").decode().splitlines()
    found = {line for line in lines if line.startswith(("GIT_", "SSH_ASKPASS", "LC_ALL"))}
    hardened = {"GIT_TERMINAL_PROMPT=0", "GIT_ALLOW_PROTOCOL=", "GIT_NO_LAZY_FETCH=1", "GIT_GRAFT_FILE=/dev/null"}
    assert found == {*hardened, "LC_ALL=C"}


def test_no_program_named_by_the_repository_watches_its_files(root: Path, tmp_path: Path) -> None:
    commit(root, a=b"1")
    marker = tmp_path / "marker"
    git(root, "config", "core.fsmonitor", str(script(tmp_path / "trap", f"touch {marker}")))
    git(root, "status")
    marker.unlink()
    run_git(root, "status")
    assert not marker.exists()


def test_no_hook_runs(root: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    script(root / ".git/hooks/pre-commit", f"touch {marker}")
    git(root, "commit", "--allow-empty", "-m", "x")
    marker.unlink()
    run_git(root, "commit", "--allow-empty", "-m", "x")
    assert not marker.exists()


@pytest.mark.parametrize("setting", ["diff.external", "diff.odd.command", "diff.odd.textconv"])
def test_no_program_shows_differences(root: Path, tmp_path: Path, setting: str) -> None:
    commit(root, **{"a": b"1", ".gitattributes": b"a diff=odd\n"})
    write(root, "a", b"2")
    marker = tmp_path / "marker"
    git(root, "config", setting, str(script(tmp_path / "trap", f"touch {marker}")))
    git(root, "diff", "--ext-diff", "--textconv")
    marker.unlink()
    assert b"+2" in run_git(root, "diff")
    assert b"+1" in run_git(root, "show", "HEAD")
    assert b"+1" in run_git(root, "log", "-p", "--end-of-options", "HEAD")
    assert not marker.exists()


def test_no_submodule_is_entered(root: Path, tmp_path: Path) -> None:
    inner = root / "inner"
    inner.mkdir()
    git(inner, "init", "-q")
    commit(inner, a=b"1")
    git(root, "-c", "advice.addEmbeddedRepo=false", "add", "inner")
    git(root, "commit", "-qm", "x")
    marker = tmp_path / "marker"
    git(inner, "config", "core.fsmonitor", str(script(tmp_path / "trap", f"touch {marker}")))
    git(root, "status")
    marker.unlink()
    write(inner, "a", b"2")
    assert "M inner" in git(root, "status", "--porcelain")
    marker.unlink()
    assert run_git(root, "status", "--porcelain") == b""
    assert run_git(root, "diff") == b""
    assert not marker.exists()
    assert set(read_tree(root).blobs) == set()


def test_nothing_is_fetched_to_answer_a_question(root: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    trap = script(tmp_path / "trap", f"touch {marker}; exit 1")
    revision = commit(root, a=b"1")
    for setting in ("extensions.partialClone=origin", "remote.origin.promisor=true", f"remote.origin.url={tmp_path}"):
        git(root, "config", *setting.split("="))
    git(root, "config", "core.repositoryFormatVersion", "1")
    git(root, "config", "remote.origin.uploadpack", str(trap))
    tree = git(root, "rev-parse", f"{revision}^{{tree}}")
    (root / ".git/objects" / tree[:2] / tree[2:]).unlink()
    with pytest.raises(subprocess.CalledProcessError):
        git(root, "ls-tree", "HEAD")
    marker.unlink()
    assert read_tree(root).why_unavailable is not None
    assert not marker.exists()


def test_the_ext_transport_is_refused_whatever_the_repository_allows(root: Path, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    trap = script(tmp_path / "trap", f"touch {marker}")
    git(root, "config", "protocol.ext.allow", "always")
    with pytest.raises(subprocess.CalledProcessError):
        git(root, "ls-remote", f"ext::{trap}")
    marker.unlink()
    with pytest.raises(GitError, match="transport 'ext' not allowed"):
        run_git(root, "ls-remote", f"ext::{trap}")
    assert not marker.exists()


def test_files_in_the_shape_of_a_repository_are_not_one(root: Path, tmp_path: Path) -> None:
    commit(root, a=b"1")
    bare = root / "bare"
    git(root, "init", "-q", "--bare", str(bare))
    marker = tmp_path / "marker"
    git(bare, "config", "core.worktree", str(root))
    git(bare, "config", "core.bare", "false")
    git(bare, "config", "core.fsmonitor", str(script(tmp_path / "trap", f"touch {marker}")))
    git(bare, "status")
    assert marker.exists()
    assert "cannot use bare repository" in (read_tree(bare).why_unavailable or "")


def test_no_program_checks_signatures(root: Path, tmp_path: Path) -> None:
    tree = git(root, "rev-parse", f"{commit(root, a=b'1')}^{{tree}}")
    who = "A <a@example.com> 0 +0000"
    signature = "-----BEGIN PGP SIGNATURE-----\n \n x\n -----END PGP SIGNATURE-----"
    raw = f"tree {tree}\nauthor {who}\ncommitter {who}\ngpgsig {signature}\n\nx\n"
    made = (
        subprocess.run(
            [GIT, "-C", root, "hash-object", "-t", "commit", "-w", "--stdin"],
            input=raw.encode(),
            capture_output=True,
            check=True,
        )
        .stdout.decode()
        .strip()
    )
    marker = tmp_path / "marker"
    git(root, "config", "log.showSignature", "true")
    git(root, "config", "gpg.program", str(script(tmp_path / "trap", f"touch {marker}; exit 1")))
    git(root, "log", "-1", made)
    marker.unlink()
    run_git(root, "log", "-1", "--end-of-options", made)
    assert not marker.exists()


@pytest.mark.parametrize("streamed", [False, True])
def test_what_something_else_forbids_today_is_forbidden_on_the_command_line_as_well(
    root: Path, fake_git: Callable[[str], None], streamed: bool
) -> None:
    """No pager without a terminal, no ext without GIT_ALLOW_PROTOCOL, no submodule by the commands that are used."""
    fake_git("printf '%s\\n' \"$@\"")
    said = b"".join(stream_git(root, "log", timeout=30)) if streamed else run_git(root, "log")
    before, _, after = said.decode().partition("\nlog\n")
    for option in ("--no-pager", "protocol.ext.allow=never", "submodule.recurse=false", "diff.submodule=short"):
        assert option in before.splitlines()
    assert {"--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty"} <= set(after.splitlines())


def test_a_stream_ends_with_git_when_enough_was_read_and_fails_as_git_does(
    root: Path, fake_git: Callable[[str], None], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fake_git(f"exec 3> {fifo}; echo one; (sleep 60; echo late >&3) & wait")
    stream = stream_git(root, "log", timeout=30)
    assert next(stream) == b"one\n"
    stream.close()
    os.set_blocking(reader, True)
    assert os.read(reader, 100) == b"", "comes only when nobody holds the other end"
    os.close(reader)
    with pytest.raises(GitError, match=r"git log took longer than 0\.2s"):
        list(stream_git(root, "log", timeout=0.2))
    fake_git("echo some; echo 'fatal: it is broken' >&2; exit 128")
    stream = stream_git(root, "log", timeout=30)
    assert next(stream) == b"some\n"
    with pytest.raises(GitError, match=r"^git log failed: it is broken$"):
        next(stream)


def test_a_stale_index_lock_and_variables_of_a_hook_are_in_nobodys_way(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = commit(root, a=b"1")
    (root / ".git/index.lock").touch()
    monkeypatch.setenv("GIT_DIR", ".git")
    monkeypatch.setenv("GIT_INDEX_FILE", str(root / "no-index"))
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(root / "no-objects"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.worktree")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "/nowhere")
    assert provenance(root, "a", b"1") == Provenance(revision=revision, blob=read_tree(root).blobs["a"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a repository to another user")
def test_a_repository_that_belongs_to_another_user_gives_no_provenance_and_says_what_to_do(root: Path) -> None:
    commit(root, a=b"1")
    for each in (root, *root.rglob("*")):
        os.chown(each, 4321, 4321, follow_symlinks=False)
    tree = read_tree(root)
    assert "it belongs to another user" in (tree.why_unavailable or "")
    assert "safe.directory" in (tree.why_unavailable or "")
    assert tree.provenance("a", b"1") == Provenance()
    git(root, "config", "--global", "--add", "safe.directory", str(root))
    assert read_tree(root).provenance("a", b"1").dirty is None


def test_the_index_is_not_rewritten_in_passing(root: Path) -> None:
    commit(root, a=b"1")
    os.utime(root / "a", (1_000_000_000, 1_000_000_000))
    index = root / ".git/index"
    before = index.read_bytes()
    run_git(root, "status")
    assert index.read_bytes() == before
    git(root, "status")
    assert index.read_bytes() != before


def test_paths_are_literal(root: Path) -> None:
    commit(root, **{"a.md": b"1", "*.md": b"2"})
    assert run_git(root, "ls-files", "-z", "--end-of-options", "*.md") == b"*.md\0"


def test_output_has_no_colours(root: Path) -> None:
    commit(root, a=b"1")
    git(root, "config", "color.ui", "always")
    assert "\x1b" in git(root, "show")
    assert b"\x1b" not in run_git(root, "show")


def test_git_reads_the_input_it_is_given_and_never_ours(root: Path) -> None:
    ours, end = os.pipe()
    os.write(end, b"ours")
    os.close(end)
    kept = os.dup(0)
    os.dup2(ours, 0)
    try:
        assert run_git(root, "hash-object", "--stdin").strip() == b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        os.close(ours)
    write(root, "x", b"x")
    assert run_git(root, "hash-object", "--stdin", input=b"x").decode().strip() == git(root, "hash-object", "x")


def test_a_program_named_git_in_the_current_folder_is_not_git(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = commit(root, a=b"1")
    script(root / "git", f"touch {tmp_path}/marker")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", f".::{os.environ['PATH']}")
    assert head(root) == revision
    assert not (tmp_path / "marker").exists()


def test_at_its_timeout_git_goes_with_all_its_helpers(
    root: Path, tmp_path: Path, fake_git: Callable[[str], None]
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    fake_git(f"exec 3> {fifo}; echo started >&3; (sleep 20; echo late >&3) & wait")
    with pytest.raises(GitError, match="git version took longer than 2s"):
        run_git(root, "version", timeout=2)
    assert os.read(reader, 100) == b"started\n"
    assert os.read(reader, 100) == b"", "comes only when nobody holds the other end"
    os.close(reader)


def test_an_error_says_what_git_said_and_is_an_unavailable_error(root: Path) -> None:
    with pytest.raises(UnavailableError, match=r"^git cat-file failed: Not a valid object name nothing$") as caught:
        run_git(root, "cat-file", "-p", "--end-of-options", "nothing")
    assert isinstance(caught.value, GitError)
    assert caught.value.returncode == 128


def test_a_repository_of_another_user_is_explained(root: Path, fake_git: Callable[[str], None]) -> None:
    fake_git("echo \"fatal: detected dubious ownership in repository at '/x'\" >&2; exit 128")
    with pytest.raises(GitError, match="it belongs to another user") as caught:
        run_git(root, "rev-parse", "HEAD")
    assert "safe.directory" in caught.value.hint
    assert provenance(root, "a", b"1") == Provenance()


def test_a_root_that_is_gone_is_an_error_and_no_repository(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="cannot change to"):
        run_git(tmp_path / "gone", "status")
    assert head(tmp_path / "gone") is None


def test_a_git_that_cannot_be_executed_is_an_error(
    root: Path, tmp_path: Path, fake_git: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_git("true")
    (tmp_path / "bin/git").write_text("#!/no/such/interpreter\n")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin")
    with pytest.raises(GitError):
        run_git(root, "version")


# -- the tree that HEAD named last -------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What git was asked, by subcommand."""
    found: list[str] = []

    def note(root: Path, *args: str, **kwargs: Any) -> bytes:
        found.append(args[0])
        return run_git(root, *args, **kwargs)

    for module in ("attributes", "tree", "objects"):
        monkeypatch.setattr(f"scheduler.git.{module}.run_git", note)
    return found


def test_git_is_asked_again_only_when_head_has_moved(root: Path, asked: list[str]) -> None:
    commit(root, a=b"1")
    commits = Commits()
    first = commits.tree(root)
    assert commits.tree(root) is first
    assert asked == ["rev-parse", "ls-tree"]
    (root / "new").write_text("new")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")
    git(root, "branch", "kept")
    assert "new" in commits.tree(root).blobs
    git(root, "checkout", "-q", "--detach", first.revision or "")
    assert commits.tree(root) == first
    git(root, "pack-refs", "--all")
    assert commits.tree(root).revision == first.revision
    git(root, "checkout", "-q", "kept")
    count = len(asked)
    assert "new" in commits.tree(root).blobs
    assert commits.tree(root) is commits.tree(root)
    assert len(asked) == count + 2, "a packed branch is read by hand as well"


def test_git_is_not_asked_again_while_head_is_unborn(root: Path, asked: list[str]) -> None:
    commits = Commits()
    assert commits.known(root) is None
    assert commits.tree(root) is commits.tree(root) is commits.known(root)
    git(root, "symbolic-ref", "HEAD", "refs/heads/team/x")
    assert commits.known(root) == Tree(in_repository=True)
    assert asked == ["rev-parse"]
    revision = commit(root, a=b"1")
    assert commits.known(root) is None
    assert commits.tree(root).revision == revision
    git(root, "symbolic-ref", "HEAD", "refs/heads/none")
    assert commits.known(root) is None
    assert commits.tree(root) is commits.tree(root)
    git(root, "symbolic-ref", "HEAD", "refs/heads/team/x")
    git(root, "pack-refs", "--all", "--prune")
    assert commits.known(root) is None, "born, though it has no file"
    assert commits.tree(root).revision == revision


def test_git_is_asked_again_only_when_a_reftable_has_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid out by hand as in gitformat-reftable(5), for a git that may not know them."""
    revisions = iter(("1" * 40, "2" * 40, None, "3" * 40))
    monkeypatch.setattr("scheduler.git.tree.read_tree", lambda _: Tree(revision=next(revisions), in_repository=True))
    (root / ".git/HEAD").write_text("ref: refs/heads/.invalid\n")
    tables = root / ".git/reftable/tables.list"
    tables.parent.mkdir()
    tables.write_text("0x000000000001-0x000000000002-1a2b.ref\n")
    commits = Commits()
    assert commits.tree(root) is commits.tree(root) is commits.known(root)
    tables.write_text(tables.read_text() + "0x000000000003-0x000000000003-3c4d.ref\n")
    assert commits.known(root) is None
    assert (commits.tree(root).revision, commits.tree(root).revision) == ("2" * 40, "2" * 40)
    tables.write_text("0x000000000001-0x000000000004-5e6f.ref\n")
    assert commits.tree(root) is commits.tree(root), "an unborn branch"
    tables.unlink()
    assert commits.known(root) is None
    assert commits.tree(root).revision == "3" * 40
    assert commits.known(root) is None, "nothing vouches for it"


def test_a_linked_worktree_has_a_head_and_a_lock_of_its_own(root: Path, tmp_path: Path, asked: list[str]) -> None:
    commit(root, a=b"1")
    git(root, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    commits = Commits()
    assert commits.tree(tmp_path / "linked").revision == head(root)
    assert commits.tree(tmp_path / "linked") is commits.tree(tmp_path / "linked")
    lock = index_lock(tmp_path / "linked")
    assert lock is not None
    assert lock.parent.name == "linked"
    assert index_lock(root) == root / ".git/index.lock"


def refs(root: Path) -> dict[str, list[str]]:
    return {os.path.relpath(folder, root): sorted(names) for folder, names in ref_files(root).items()}


def test_the_files_that_tell_head_are_its_own_its_branchs_and_the_packed_ones(root: Path, tmp_path: Path) -> None:
    top = {".git": ["HEAD", "packed-refs", "refs"], ".git/refs": ["heads"], ".git/refs/heads": ["main"]}
    assert refs(root) == top, "also before it is born"
    commit(root)
    git(root, "checkout", "-qb", "team/x")
    nested = {".git/refs/heads": ["team"], ".git/refs/heads/team": ["x"]}
    assert refs(root) == {**top, **nested}
    git(root, "pack-refs", "--all", "--prune")
    assert refs(root) == {**top, **nested}, "the branch gets a file again with the next commit"
    git(root, "checkout", "-q", "--detach")
    assert refs(root) == {".git": ["HEAD", "packed-refs"]}
    git(root, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "side")
    found = {str(folder): sorted(names) for folder, names in ref_files(tmp_path / "linked").items()}
    assert found == {
        f"{root}/.git/worktrees/linked": ["HEAD"],
        f"{root}/.git": ["packed-refs", "refs"],
        f"{root}/.git/refs": ["heads"],
        f"{root}/.git/refs/heads": ["side"],
    }
    (root / ".git/reftable").mkdir()
    assert refs(root) == {".git": ["HEAD", "packed-refs"], ".git/reftable": ["tables.list"]}
    (root / ".git/HEAD").unlink()
    assert refs(root) == {".git": ["HEAD"]}
    (tmp_path / "none").mkdir()
    assert refs(tmp_path / "none") == {}


def test_outside_a_repository_git_is_asked_once(tmp_path: Path, asked: list[str]) -> None:
    (tmp_path / "plain").mkdir()
    commits = Commits()
    assert commits.tree(tmp_path / "plain") == commits.tree(tmp_path / "plain")
    assert (asked, index_lock(tmp_path / "plain")) == (["rev-parse"], None)
    git(tmp_path / "plain", "init", "-q")
    assert commits.tree(tmp_path / "plain").in_repository


@pytest.mark.parametrize(
    ("half_done", "words", "aborted"),
    [
        (("merge", "other"), "a merge", ("merge", "--abort")),
        (("rebase", "other"), "a rebase", ("rebase", "--abort")),
        (("rebase", "--apply", "other"), "a rebase", ("rebase", "--abort")),
        (("cherry-pick", "other"), "a cherry-pick", ("cherry-pick", "--abort")),
        (("revert", "HEAD~1"), "a revert", ("revert", "--abort")),
        (("bisect", "start", "HEAD", "HEAD~2"), "a bisect", ("bisect", "reset")),
    ],
)
def test_what_git_is_in_the_middle_of_is_known_until_it_is_done(
    root: Path, half_done: tuple[str, ...], words: str, aborted: tuple[str, ...]
) -> None:
    for text in (b"one", b"two", b"three"):
        commit(root, **{"a.txt": text})
    git(root, "branch", "other", "HEAD~2")
    git(root, "switch", "-q", "other")
    commit(root, **{"a.txt": b"theirs"})
    git(root, "switch", "-q", "-")
    assert under_way(root) == ""
    subprocess.run(["git", "-C", root, *half_done], capture_output=True, check=False)
    assert under_way(root) == f"{words} is in progress in the repository"
    git(root, *aborted)
    assert under_way(root) == ""


def test_a_linked_worktree_is_held_by_what_happens_in_it_alone(root: Path, tmp_path: Path) -> None:
    commit(root, **{"a.txt": b"one"})
    linked = tmp_path / "linked"
    git(root, "worktree", "add", "-q", str(linked), "-b", "other")
    commit(linked, **{"a.txt": b"theirs"})
    commit(root, **{"a.txt": b"ours"})
    subprocess.run(["git", "-C", linked, "merge", git(root, "rev-parse", "HEAD")], capture_output=True, check=False)
    assert under_way(linked) == "a merge is in progress in the repository"
    assert under_way(root) == ""
