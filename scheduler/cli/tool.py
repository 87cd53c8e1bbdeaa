"""The command that serves the tool for agents: mcp."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

from scheduler.cli.group import Globals, cli, global_options, say
from scheduler.core.values.problems import UnavailableError
from scheduler.machine.garbage import collect_often

_EXTRA = ("mcp", "mcp_types", "anyio")


@cli.command("mcp")
@global_options
def mcp_command(given: Globals) -> None:
    """Serve the tools for agents over stdio (MCP).

    `schedule_read` only reads; `schedule` edits and runs jobs as `agents` in scheduler.yaml allows.
    """
    collect_often()
    root = given.find_root(say_place=False)
    try:
        from scheduler.tool.server import serve_tool
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise UnavailableError(
            "`scheduler mcp` needs the extra `mcp`, which is not installed", hint="pip install 'gitops-scheduler[mcp]'"
        ) from None
    if sys.stdin.isatty():
        say(given, "this command is for programs: add it to the settings of your agent; Ctrl-C quits")
    who = os.environ.get("SCHEDULER_RUN_ID") or root.actor.partition(":")[2]
    serve_tool(replace(root, actor=f"agent:{who}"))
