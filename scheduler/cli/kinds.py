"""Types of arguments that name something on this machine: passed on as they are, and completed by the shell."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem


class FolderType(click.ParamType[str]):
    """A folder, which may not exist."""

    name = "dir"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="dir")]


class FileType(click.ParamType[str]):
    """A file, which may not exist; or a special value, such as - or a URL."""

    name = "file"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]
