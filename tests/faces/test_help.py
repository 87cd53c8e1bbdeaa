"""What `--help` says, and what is said of a command line that makes no sense."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import scheduler.cli
from scheduler.cli.group import cli
from scheduler.cli.helping import COMMANDS, GLOBAL, GROUPS
from tests.faces.conftest import Root

GLOBAL_OPTIONS = {option for param in cli.params for option in param.opts}


def test_help_lists_every_command_with_its_module_and_summary() -> None:
    placed = [name for commands in GROUPS.values() for name in commands]
    assert len(placed) == len(set(placed)), "one group each"
    written = {
        each.args[0].value: path.stem
        for path in Path(scheduler.cli.__file__).parent.glob("*.py")
        for each in ast.walk(ast.parse(path.read_text()))
        if isinstance(each, ast.Call)
        and ast.unparse(each.func) == "cli.command"
        and isinstance(each.args[0], ast.Constant)
    }
    assert {name: module for name, (module, _) in COMMANDS.items()} == written
    for name, command in cli.commands.items():
        assert COMMANDS[name][1] == command.get_short_help_str(limit=10_000), "the first sentence of its docstring"


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_a_summary_is_one_short_imperative_sentence(name: str) -> None:
    said = COMMANDS[name][1]
    assert len(said) <= 60, said
    assert re.fullmatch(r"[A-Z][a-z]+\b.*[^.]\.", said), said
    assert not said.split()[0].endswith("s"), "the imperative"
    assert ";" not in said
    assert len((cli.commands[name].help or "").split()) <= 60, "one or two sentences more, the rest is in the reference"


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_lists_the_commands_by_group_each_summary_whole(
    root: Root, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    shown = root.ok("--help").stdout
    assert "..." not in shown.replace("[ARGS]...", "")
    assert max(map(len, shown.split("\n"))) <= 80
    assert re.findall(r"^([A-Z][A-Za-z ]+):$", shown, re.MULTILINE) == [*GROUPS, "Global options"]
    for name, (_, summary) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE), name


@pytest.mark.parametrize("name", sorted(cli.commands))
def test_help_of_a_command_has_its_own_options_and_names_where_the_global_ones_are(root: Root, name: str) -> None:
    shown = root.ok(name, "--help").stdout
    options = set(re.findall(r"^  (?:-\w, )?(--?[\w-]+)", shown, re.MULTILINE))
    own = {
        max(each.opts, key=len)
        for each in cli.commands[name].params
        if each.name not in GLOBAL and each.opts[0][0] == "-" and not getattr(each, "hidden", False)
    }
    assert options - {"--help"} == own
    assert not options & GLOBAL_OPTIONS
    assert shown.endswith("\nGlobal options, such as --root and --json: scheduler --help\n")
    for line in shown.split("\n"):
        assert len(line) - len(line.lstrip()) <= 28, "no wide indent"


@pytest.mark.parametrize("place", [["--json", "list"], ["list", "--json"]])
def test_global_options_are_accepted_before_and_after_the_command(root: Root, place: list[str]) -> None:
    assert root.ok(*place).json["synced"] is False


# -- what makes no sense --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("show", "JOB|RUN is missing", "the usage is `scheduler show [OPTIONS] JOB|RUN`"),
        ("completion", "SHELL is missing", "the usage is `scheduler completion [OPTIONS] {bash|zsh|fish}`"),
        ("rollback triage", "--to is missing", "write `scheduler rollback … --to RUN|text:SHA|commit:SHA`"),
        ("show a b", "unexpected argument 'b'", "the usage is `scheduler show [OPTIONS] JOB|RUN`"),
        ("list extra", "unexpected argument 'extra'", "the usage is `scheduler list [OPTIONS]`"),
        ("list --problms", "there is no option '--problms'", "did you mean '--problems'?"),
        ("list --jsn", "there is no option '--jsn'", "did you mean '--json'?"),
        ("--rot x list", "there is no option '--rot'", "did you mean '--root'?"),
        ("list --zzz", "there is no option '--zzz'", "`scheduler list --help` lists the options"),
        ("list -x", "there is no option '-x'", "`scheduler list --help` lists the options"),
        ("log a --limit 3", "there is no option '--limit'", "did you mean '-n'?"),
        ("plan --output json", "there is no option '--output'", "did you mean '--format'?"),
        ("sync --preview", "there is no option '--preview'", "did you mean '--dry-run'?"),
        ("doctor --wait", "there is no option '--wait'", "run has it; `scheduler doctor --help` lists the options"),
        ("update triage --set", "--set needs a value", "write `scheduler update … --set KEY=VALUE`"),
        ("list --json=yes", "--json takes no value", "write it alone"),
        ("--json=yes list", "--json takes no value", "write it alone"),
        ("list --status dis", "'dis' is not a job status", ""),
        ("plan --format yaml", "--format 'yaml' is not one of text, json, markdown, github", ""),
        ("completion tcsh", "SHELL 'tcsh' is not one of bash, zsh, fish", ""),
        ("hooks instal", "ACTION 'instal' is not one of install, uninstall, status", "did you mean 'install'?"),
        ("next -n 0", "-n is 0; it must be a whole number from 1 to 1,000,000", ""),
        ("next -n x", "-n is 'x'; it must be a whole number from 1 to 1,000,000", ""),
        ("serve --grace x", "--grace is 'x'; it must be a number from 0 to 86,400", ""),
        ("init scheduler.yaml", "DIR: directory 'scheduler.yaml' is a file", ""),
        ("frobnicate", "there is no command 'frobnicate'", "`scheduler --help` lists them"),
        ("help", "there is no command 'help'", "`scheduler --help`"),
        ("help list", "there is no command 'help'", "`scheduler list --help`"),
        ("version", "there is no command 'version'", "`scheduler --version`"),
    ],
)  # fmt: skip
def test_a_command_line_that_makes_no_sense_is_one_error_with_a_hint(
    root: Root, line: str, message: str, hint: str
) -> None:
    found = root.cli(*line.split())
    assert (found.code, found.stdout) == (2, "")
    first, *rest = found.stderr.rstrip("\n").split("\n")
    assert first.startswith(f"error: {message}")
    assert "Usage:" not in found.stderr
    if hint:
        assert rest == [f"  hint: {hint}"]


@pytest.mark.parametrize(
    ("word", "ours"),
    [
        *{"logs": "output", "tail": "output", "rm": "delete", "runs": "history", "edit": "update"}.items(),
        *{"ls": "list", "apply": "sync", "describe": "show", "why": "explain", "health": "doctor"}.items(),
        *{"kill": "cancel", "prune": "gc"}.items(),
        *{"upcoming": "next", "rerun": "run", "unpause": "resume", "events": "audit", "daemon": "serve"}.items(),
        *{"pull": "sync", "preview": "plan", "lint": "validate", "prompt": "task", "undo": "rollback"}.items(),
    ],
)  # fmt: skip
def test_a_command_of_other_tools_leads_to_ours(root: Root, word: str, ours: str) -> None:
    assert root.cli(word, "x").stderr.endswith(f"  hint: did you mean {ours!r}?\n")


@pytest.mark.parametrize("word", ["ps", "status", "top", "overview"])
def test_a_word_for_what_runs_now_leads_to_the_command_that_shows_it(root: Root, word: str) -> None:
    if word in cli.commands:
        assert root.ok(word, "--help").stdout
        return
    ours = next(each for each in ("status", "list") if each in cli.commands)
    assert root.cli(word).stderr.endswith(f"  hint: did you mean {ours!r}?\n")


def test_without_a_command_the_help_is_shown(root: Root) -> None:
    found = root.cli()
    assert found.code == 2
    assert "Look:" in found.stdout + found.stderr
