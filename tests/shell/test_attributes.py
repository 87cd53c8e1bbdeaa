"""The attributes of the files of a commit, as git resolves them; no program of the repository is started."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scheduler.core.formats.checkout import ATTRIBUTES
from scheduler.git import attributes as module
from scheduler.git.attributes import Attributes, attributes_here, attributes_in
from scheduler.git.objects import AbsentError, entries_of
from tests.helpers import git, settle_environment


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settle_environment(monkeypatch, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture(params=["sha1", "sha256"])
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    where = tmp_path / "root"
    where.mkdir()
    git(where, "init", "-q", f"--object-format={request.param}")
    return where


def commit(root: Path, files: dict[str, str]) -> str:
    """A commit of these files, as their blobs: no attribute counts."""
    for path, text in files.items():
        blob = subprocess.run(
            ["git", "-C", root, "hash-object", "-w", "--stdin", "--no-filters"],
            input=text.encode(),
            capture_output=True,
            check=True,
        ).stdout
        git(root, "update-index", "--add", "--cacheinfo", f"100644,{blob.decode().strip()},{path}")
    git(root, "commit", "-q", "-m", "x")
    return git(root, "rev-parse", "HEAD")


def asked(root: Path, revision: str, *paths: str) -> dict[str, dict[str, str]]:
    """What is not unspecified, by path."""
    entries = {each.path: each for each in entries_of(root, revision)}
    found = attributes_in(root, revision, entries, paths)
    return told(found[0]) if found else {}


def told(found: Attributes) -> dict[str, dict[str, str]]:
    return {
        path: {name: value for name, value in each.items() if value != "unspecified"} for path, each in found.items()
    }


def test_attributes_of_a_commit_are_those_of_its_own_files(root: Path) -> None:
    before = commit(root, {"a/b.sh": "x", "a/c.md": "y"})
    after = commit(
        root, {".gitattributes": "[attr]odd filter=bar ident\n*.md text=auto\n", "a/.gitattributes": "*.sh odd\n"}
    )
    assert asked(root, before, "a/b.sh", "a/c.md") == {}
    assert asked(root, after, "a/b.sh", "a/c.md", "x/y.sh") == {
        "a/b.sh": {"filter": "bar", "ident": "set"},
        "a/c.md": {"text": "auto"},
        "x/y.sh": {},
    }


def test_below_the_top_the_attributes_above_the_root_count(root: Path) -> None:
    revision = commit(root, {".gitattributes": "*.sh ident\n", "x/.gitattributes": "*.sh eol=lf\n", "x/y/a.sh": "x"})
    (root / "x/y").mkdir(parents=True)
    assert asked(root / "x/y", revision, "a.sh") == {"a.sh": {"eol": "lf", "ident": "set"}}


def test_only_the_commit_counts_for_a_commit_and_everything_here(root: Path, home: Path) -> None:
    revision = commit(root, {".gitattributes": "* ident\n", "a": "x"})
    (root / ".git/info").mkdir(exist_ok=True)
    (root / ".git/info/attributes").write_text("a -ident filter=mine\n")
    (home / ".gitattributes-of-mine").write_text("a eol=crlf\n")
    git(root, "config", "core.attributesFile", str(home / ".gitattributes-of-mine"))
    git(root, "checkout", "-q", "-f")
    assert asked(root, revision, "a") == {"a": {"ident": "set"}}
    here = attributes_here(root, ["a"])["a"]
    assert (here["ident"], here["filter"], here["eol"]) == ("unset", "mine", "crlf")
    assert set(here) == set(ATTRIBUTES)


def test_odd_names_are_only_names(root: Path) -> None:
    revision = commit(root, {".gitattributes": "* ident\n"})
    names = ["-n", "tab\there", "über/naïve", ":(top)a", 'quo"te']
    assert asked(root, revision, *names) == {name: {"ident": "set"} for name in names}
    entries = {each.path: each for each in entries_of(root, revision)}
    assert list(attributes_in(root, revision, entries, ["odd\udcff"])[0]) == ["odd\udcff"]


def test_where_upper_and_lower_case_are_one_other_attributes_can_count(root: Path) -> None:
    revision = commit(root, {"a/.GitAttributes": "B.SH ident\n", "a/b.sh": "x"})
    entries = {each.path: each for each in entries_of(root, revision)}
    here, there = attributes_in(root, revision, entries, ["a/b.sh"])
    assert (told(here), told(there)) == ({"a/b.sh": {}}, {"a/b.sh": {"ident": "set"}})


def test_an_attribute_file_that_git_lacks_is_no_empty_one(root: Path) -> None:
    revision = commit(root, {".gitattributes": "* ident\n", "a": "x"})
    entries = {each.path: each for each in entries_of(root, revision)}
    blob = entries[".gitattributes"].id
    (root / ".git/objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(AbsentError):
        attributes_in(root, revision, entries, ["a"])


def test_ten_thousand_files_take_as_many_processes_as_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = commit(root, {".gitattributes": "* ident\n", "a": "x"})
    started: list[str] = []

    def noted(name: str) -> None:
        call = getattr(module, name)

        def note(*args: object, **kwargs: object) -> object:
            started.append(str(args[1]))
            return call(*args, **kwargs)

        monkeypatch.setattr(module, name, note)

    noted("run_git")
    noted("start_git")
    found = asked(root, revision, *(f"d/{n}.sh" for n in range(10_000)))
    assert len(found) == 10_000
    assert started == ["rev-parse", "rev-parse", "update-index", "check-attr", "check-attr"]
    started.clear()
    entries = {path: each for path, each in ((e.path, e) for e in entries_of(root, revision)) if path == "a"}
    assert attributes_in(root, revision, entries, ["a"]) == []  # no .gitattributes: nothing more is asked
    assert started == ["rev-parse"]
