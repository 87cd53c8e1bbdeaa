"""Completion in bash, zsh and fish: the values of arguments, the scripts, and the command that prints them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ZshComplete,
    add_completion_class,
    get_completion_class,
    split_arg_string,
)

from scheduler.cli.group import Globals, OneOf, RunType, cli, global_options, known_root
from scheduler.service import words
from scheduler.service.root import Root

PART = "part"  # an incomplete item: no space is added after it

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_BREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for completion in $response; do
        case "${completion%%%%,*}" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            part) compopt -o nospace; COMPREPLY+=("${completion#*,}") ;;
            plain) COMPREPLY+=("${completion#*,}") ;;
        esac
    done
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def last_word(line: str) -> tuple[int, bool]:
    """The start of the last word of a command line, and whether it contains a quote or a backslash."""
    start, quote, escaped, quoted = 0, "", False, False
    for place, letter in enumerate(line):
        if escaped:
            escaped = False
        elif letter == "\\" and quote != "'":
            escaped = quoted = True
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote, quoted = letter, True
        elif letter.isspace():
            start, quoted = place + 1, False
    return start, quoted


class _Bash(BashComplete):
    """Bash splits words at colons and equals signs, and replaces only what comes after the last one."""

    name = "bash"
    source_template = _BASH
    _cut = ""  # the part of the word that bash keeps

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ.get("COMP_LINE")
        if line is None:  # a script from an earlier version
            return super().get_completion_args()
        start, quoted = last_word(line)
        written = split_arg_string(line[start:])
        breaks = {letter for letter in os.environ.get("COMP_BREAKS", "") if letter in ":=@"}
        if not quoted:
            self._cut = line[start : max((line.rfind(letter) for letter in breaks), default=-1) + 1]
        before = split_arg_string(line[:start])
        while before and re.match(r"\w+=", before[0]):  # X=1 scheduler …
            del before[0]
        return before[1:], written[0] if written else ""

    def format_completion(self, item: CompletionItem) -> str:
        value = str(item.value).removeprefix(self._cut)
        return f"{item.type},{re.sub(_SPECIAL, _ESCAPED, value)}" if item.type in ("plain", PART) else item.type + ","


_SPECIAL, _ESCAPED = r"([^\w@%+=:,./~|-])", r"\\\1"


class _Zsh(ZshComplete):
    """Keep the text before the = of an option: click's script replaces both with the value."""

    name = "zsh"
    source_template = (
        ZshComplete.source_template.replace(
            "    local -a response\n", "    local -a response\n    [[ $words[CURRENT] == -*=* ]] && compset -P '*='\n"
        )
        .replace("compadd -U -V unsorted -a completions", 'compadd -U -i "$IPREFIX" -V unsorted -a completions')
        .replace(
            '        elif [[ "$type" == "dir" ]]; then',
            f'        elif [[ "$type" == "{PART}" ]]; then\n'
            '            compadd -U -i "$IPREFIX" -S \'\' -V unsorted -- "$key"\n'
            '        elif [[ "$type" == "dir" ]]; then',
        )
    )


class _Fish(FishComplete):
    """Fish itself adds no space after a slash, a dot or an equals sign."""

    name = "fish"

    def format_completion(self, item: CompletionItem) -> str:
        if item.type == PART:
            item = CompletionItem(item.value, help=item.help)
        return super().format_completion(item)


for _shell in (_Bash, _Zsh, _Fish):
    add_completion_class(_shell)


# -- values ----------------------------------------------------------------------------------------


class _Known(click.ParamType[str]):
    """A word. Completion offers the words that `found` returns for the root."""

    def __init__(self, name: str, found: Callable[[Root], Iterable[str]]) -> None:
        self.name = name
        self._found = found

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        root = known_root(ctx)
        return [] if root is None else _items(self._found(root), incomplete)


class _PathInRoot(click.ParamType[str]):
    """A file or folder, as a path in the root, independent of the working directory."""

    name = "path"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        root = known_root(ctx)
        return [] if root is None else _items(words.path_words(root, incomplete, job_files=True), incomplete)


class _Setting(click.ParamType[str]):
    """KEY=VALUE. Completion offers the keys, then the values of keys with a fixed set of values."""

    name = "setting"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        key, equals, value = incomplete.partition("=")
        if not equals:
            return _items((f"{each}=" for each in words.key_words()), incomplete)
        found: Iterable[str] = words.key_words().get(key, ())
        root = known_root(ctx)
        if key == "runner" and root is not None:
            found = words.runner_words(root)
        elif key == "tags" and root is not None:
            found = (f"[{each}]" for each in words.tag_words(root))
        elif key == "task_source_path" and root is not None:
            found = words.path_words(root, value, job_files=False)
        elif key == "schedule.timezone":
            found = words.zone_words()
        return _items((f"{key}={each}" for each in found), incomplete)


class _Target(RunType):
    """A target of a rollback: a run, or a text or commit by its hash."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [*super().shell_complete(ctx, param, incomplete), *_items(("text:", "commit:"), incomplete)]


def _items(found: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """The candidates with this prefix. An incomplete one, such as a folder or a key, is not a whole word."""
    return [
        CompletionItem(each, type=PART if each.endswith(("/", "=", ":")) else "plain")
        for each in found
        if each.startswith(incomplete)
    ]


TAG = _Known("tag", words.tag_words)
RUNNER = _Known("name", words.runner_words)
CHANNEL = _Known("name", words.channel_words)
REVISION = _Known("rev", words.revision_words)
KEY = _Known("key", lambda root: words.key_words())
SETTING = _Setting()
JOB_FILE = _PathInRoot()
TARGET = _Target()


@cli.command("completion")
@click.argument("shell", type=OneOf(["bash", "zsh", "fish"]))
@global_options
def completion_command(given: Globals, shell: str) -> None:
    """Print the completion script of a shell.

    In bash and zsh: eval "$(scheduler completion bash)". In fish: scheduler completion fish | source.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "scheduler", "_SCHEDULER_COMPLETE").source())
