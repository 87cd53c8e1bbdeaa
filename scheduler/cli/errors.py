"""Errors that click finds in a command line, worded like all other errors: one line and a hint."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

from scheduler.cli.helping import usage, written_name
from scheduler.core.values.problems import nearest

_OTHER_OPTIONS = {
    **dict.fromkeys(("--limit", "--lines", "--tail", "--count", "--number", "--max", "--last"), "-n"),
    **dict.fromkeys(("--output", "-o", "--out"), "--format"),
    **dict.fromkeys(("--force", "--yes", "-y"), "--confirm-prune"),
    **dict.fromkeys(("--check", "--preview", "--simulate", "--noop"), "--dry-run"),
    **dict.fromkeys(("-f", "--tail-logs"), "--follow"),
    **dict.fromkeys(("--dir", "--directory", "--cwd", "-C", "--chdir"), "--root"),
    **dict.fromkeys(("--database",), "--db"),
    **dict.fromkeys(("--silent",), "--quiet"),
    **dict.fromkeys(("--debug",), "--verbose"),
    **dict.fromkeys(("--tz", "--zone"), "--timezone"),
    **dict.fromkeys(("--state-dir",), "--state"),
}


def click_told(error: click.ClickException) -> tuple[str, str]:
    """The message and the hint for any click error."""
    ctx = getattr(error, "ctx", None)
    match error:
        case click.NoSuchOption():
            return f"there is no option {error.option_name!r}", _option_meant(error.option_name, ctx)
        case click.MissingParameter():
            return f"{_name(error.param)} is missing", _usage_hint(ctx, error.param)
        case click.BadOptionUsage():
            param = _option(error.option_name, ctx)
            flag = isinstance(param, click.Option) and (param.is_flag or param.count)
            says = "takes no value" if flag else "needs a value"
            return f"{error.option_name} {says}", "write it alone" if flag else _usage_hint(ctx, param)
        case click.BadParameter():
            return _bad_value(error, ctx)
        case click.UsageError():
            return _plain(error.message), _help_hint(ctx)
        case _:
            return _plain(error.format_message()), ""


def _bad_value(error: click.BadParameter, ctx: click.Context | None) -> tuple[str, str]:
    name = _name(error.param)
    kind = None if error.param is None else error.param.type
    value = re.split(r" is not (?:in the range|a valid)", error.message)[0]
    if isinstance(kind, click.IntRange | click.FloatRange) and value != error.message:
        number = "a whole number" if isinstance(kind, click.IntRange) else "a number"
        low, high = (f"{each:,}" for each in (kind.min or 0, kind.max or 0))
        return f"{name} is {value}; it must be {number} from {low} to {high}", ""
    message, _, hint = _plain(error.message).partition("; write ")
    return f"{name}: {message}", f"write {hint}" if hint else ""


def _option_meant(name: str, ctx: click.Context | None) -> str:
    if ctx is None:
        return ""
    known = [each for param in ctx.command.params if isinstance(param, click.Option) for each in param.opts]
    other = _OTHER_OPTIONS.get(name)
    words = {each.lstrip("-"): each for each in known if each.startswith("--")}
    near = words.get(nearest(name.lstrip("-"), words) or "") if len(name) > 2 else None
    if other in known or near is not None:
        return f"did you mean {(other if other in known else near)!r}?"
    having = [each for each, command in _commands(ctx) if any(name in param.opts for param in command.params)]
    if having and ctx.parent is not None:
        return f"{', '.join(having[:5])} {'has' if len(having) == 1 else 'have'} it; {_help_hint(ctx)}"
    return _help_hint(ctx)


def _commands(ctx: click.Context) -> Iterable[tuple[str, click.Command]]:
    root = ctx.find_root().command
    return sorted(root.commands.items()) if isinstance(root, click.Group) else ()


def _option(name: str, ctx: click.Context | None) -> click.Parameter | None:
    params = [] if ctx is None else ctx.command.params
    return next((param for param in params if name in (*param.opts, *param.secondary_opts)), None)


def _name(param: click.Parameter | None) -> str:
    return "the value" if param is None else written_name(param)


def _usage_hint(ctx: click.Context | None, param: click.Parameter | None) -> str:
    if ctx is None:
        return ""
    if isinstance(param, click.Option):
        shown = param.make_metavar(ctx)
        named = " ".join(filter(None, (written_name(param), "" if param.is_flag or param.count else shown)))
        return f"write `{ctx.command_path} … {named}`"
    return f"the usage is `{usage(ctx)}`"


def _help_hint(ctx: click.Context | None) -> str:
    return f"`{ctx.command_path} --help` lists the options" if ctx is not None else ""


def _plain(message: str) -> str:
    """Reword a click sentence as one of our messages: no capital at the start, no full stop at the end."""
    text = message.strip().removesuffix(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
