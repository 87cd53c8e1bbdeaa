"""Agents' runs through a real daemon: fake programs print what each real one prints, `llm` is real."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.faces.conftest import Root
from tests.faces.served import Served, root, serve
from tests.helpers import call, until
from tests.run.results.shapes import CLAUDE_RESULT, CODEX, SESSION, WHOLE, claude_error, claude_limit, lines

__all__ = ["root", "serve"]  # fixtures

PROGRAM = """#!/bin/sh
read -r name
cd "$(dirname "$0")/.." || exit 99
cat "$name.out"
cat "$name.err" >&2
exit "$(cat "$name.code")"
"""
PRICES = """prices:
  gpt-5.2: {input: 5, output: 50, cache_read: 0.3, as_of: 2026-12-01}
  gpt-5-mini: {input: 1, output: 10, cache_read: 0.1, as_of: 2026-12-01}
"""
CODEX_AS_ASKED = lines(*(each for each in CODEX if each.get("item", {}).get("type") != "error"))
NOISE = lines(*({"type": "assistant", "message": {"content": [{"type": "text", "text": "x" * 400}]}},)) * 12_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    program: str
    out: bytes
    err: bytes = b""
    code: int = 0
    job: str = ""  # more keys
    tells: dict[str, Any] = field(default_factory=dict)


def ok(program: str, name: str = "", **tells: Any) -> Case:
    return Case(
        program=program, out=WHOLE[name or program][1], tells={"status": "succeeded", "end_class": "ok", **tells}
    )


def bad(program: str, out: bytes, end: str, *, code: int = 1, err: bytes = b"", job: str = "", **tells: Any) -> Case:
    told = {"status": "failed", "end_class": end, **tells}
    return Case(program=program, out=out, err=err, code=code, job=job, tells=told)


def claude(**more: Any) -> bytes:
    return json.dumps(claude_error(**more)).encode()


CASES = {
    "claude-ok": ok(
        "claude", result=CLAUDE_RESULT["result"], cost_usd=0.0423, model="claude-opus-4-6", session=SESSION,
        denied=["Bash"],
    ),
    "claude-long": Case(
        program="claude", out=NOISE + WHOLE["claude-stream"][1],
        tells={"status": "succeeded", "end_class": "ok", "result": CLAUDE_RESULT["result"], "truncated": True},
    ),
    "claude-says-it-failed": bad("claude", claude(subtype="error_during_execution"), "task", code=0, reason="task"),
    "claude-limit": bad(
        "claude", lines(claude_limit("rejected"), claude_error(api_error_status=429)), "quota", reason="quota",
        reset_at="2026-12-01T21:00:00Z", limit="five_hour",
    ),
    "claude-limit-alone": bad("claude", claude(api_error_status=429), "quota", reset_at=None),
    "claude-login": bad("claude", claude(api_error_status=401), "credential", reason="credential"),
    "claude-busy": bad(
        "claude", claude(api_error_status=529), "transient", job="retry: {attempts: 2, delay: 1s}\n", cost_usd=0.0846,
    ),
    "claude-cap": bad("claude", claude(subtype="error_max_budget_usd"), "budget", reason="budget"),
    "claude-half": Case(
        program="claude", out=WHOLE["claude"][1][:200],
        tells={"status": "succeeded", "cost": None, "misfits": ["the output is cut"]},
    ),
    "claude-nan": Case(
        program="claude", out=WHOLE["claude"][1].replace(b"0.0423", b"NaN"), tells={"end_class": "ok", "cost": None},
    ),
    "codex-ok": ok(
        "codex", result="All is well.", model_served="gpt-5-mini",
        cost={"amount": 0.0039798, "currency": "USD", "basis": "computed"},
    ),
    "codex-unnamed": Case(
        program="codex", out=CODEX_AS_ASKED, tells={"model_served": None, "model": "gpt-5.2", "cost_usd": 0.0150094},
    ),
    "gemini-ok": ok("gemini", result="Nothing to do.", model="gemini-3-pro", cost=None),
    "gemini-login": bad(
        "gemini", b"", "credential", code=41, err=b'{"error": {"type": "FatalAuthenticationError", "code": 41,'
        b' "message": "Please set an Auth method"}}',
    ),
    "opencode-ok": ok("opencode", result="First.\nDone.", cost_usd=0.03, session="ses_1"),
    "goose-ok": ok("goose", result="Two files changed.", cost_usd=0.5),
    "text-ok": ok("script", "text", result="All is well.\n", result_format="text", cost=None, model=None),
    "text-bad": bad("script", b"", "task", code=3, err=b"429 Too Many Requests\n", reason="exit_code", cost=None),
}  # fmt: skip


def write_programs(root: Root, folder: Path) -> None:
    (folder / "bin").mkdir()
    runners = []
    for name, case in CASES.items():
        program = folder / "bin" / case.program
        program.write_text(PROGRAM)
        program.chmod(0o755)
        for ending, data in {"out": case.out, "err": case.err, "code": str(case.code).encode()}.items():
            (folder / f"{name}.{ending}").write_bytes(data)
        words = f"{program}, exec, -m, gpt-5.2" if case.program == "codex" else program
        runners.append(f"  {name}: {{command: [{words}], input: stdin}}\n")
        root.write(f"jobs/{name}.yaml", f"id: {name}\nschedule: manual\nrunner: {name}\ntask: {name}\n{case.job}")
    llm = Path(sys.executable).with_name("llm")
    runners.append(f'  llm: {{command: [{llm}, -m, echo, --json, "{{task}}"], env: {{LLM_USER_PATH: {folder}}}}}\n')
    root.write("jobs/llm.yaml", "id: llm\nschedule: manual\nrunner: llm\ntask: say hi\n")
    root.write(
        "scheduler.yaml",
        f"version: 1\nrunners:\n{''.join(runners)}{PRICES}limits: {{output_bytes: 1MiB, max_running: 32}}\n",
    )
    root.path.joinpath("jobs/tick.yaml").unlink()
    root.commit()


def test_every_shape_is_told_on_the_run(root: Root, serve: Callable[..., Served], tmp_path: Path) -> None:
    write_programs(root, tmp_path)
    serve()
    for name in (*CASES, "llm"):
        assert call("run", name, "-q").code == 0

    def ended() -> dict[str, Any] | None:
        found = {name: root.runs(name)[0] for name in (*CASES, "llm")}
        return found if all(run["finished_at"] for run in found.values()) else None

    runs = until(ended, "all runs ended")
    wrong = {
        name: {key: (runs[name][key], value) for key, value in case.tells.items() if runs[name][key] != value}
        for name, case in CASES.items()
    }
    assert not {name: told for name, told in wrong.items() if told}
    echoed = runs["llm"]
    assert (echoed["status"], echoed["result_format"], echoed["model_served"]) == ("succeeded", "llm", "echo")
    assert json.loads(echoed["result"])["prompt"] == "say hi"
    assert echoed["tokens"]["input"] == 2
    assert [attempt["end_class"] for attempt in runs["claude-busy"]["attempts"]] == ["transient", "transient"]

    shown = call("show", "claude-ok:1").stdout
    for words in ("0.0423 USD, reported", "claude-opus-4-6", f"--resume {SESSION}", "Bash", "Three mails need"):
        assert words in shown
    assert call("output", "claude-ok", "--answer").stdout == f"{CLAUDE_RESULT['result']}\n"
    refused = call("output", "text-ok", "--answer")
    assert (refused.code, "plain text" in refused.stderr) == (2, True)
    assert "0.0423 USD" in call("history", "claude-ok").stdout
    assert "for 0.0423 USD" in call("log", "claude-ok").stdout
    (codex,) = [job for job in call("list", "--json").json["jobs"] if job["other_model"]]
    assert codex["other_model"] == {"run_id": "codex-ok:1", "asked": "gpt-5.2", "served": "gpt-5-mini"}
    assert "active/other model" in call("list").stdout or "manual/other model" in call("list").stdout
    assert "gpt-5-mini, but gpt-5.2 was asked for" in call("show", "codex-ok").stdout
    said = [each for each in call("doctor", "--json").json["checks"] if each["name"] == "models"]
    assert ["'gpt-5.2', and 'gpt-5-mini' answered codex-ok:1" in each["message"] for each in said] == [True]
    assert "prints claude" in call("show", "claude-ok").stdout
    text = call("versions", "claude-ok", "--json").json["versions"][0]
    assert text["figures"]["cost"] == {"value": 0.0423, "n": 1, "enough": False}


@pytest.mark.parametrize("cost", [b"-1", b"1e9", b'"0.1"', b"null"])
def test_a_cost_that_cannot_be_one_is_unknown_and_never_zero(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: bytes
) -> None:
    odd = Case(program="claude", out=WHOLE["claude"][1].replace(b"0.0423", cost))
    monkeypatch.setattr(sys.modules[__name__], "CASES", {"odd": odd})
    write_programs(root, tmp_path)
    assert call("sync", "-q").code == 0
    assert call("run", "odd", "--wait", "-q").code == 0
    assert (root.runs("odd")[0]["cost"], root.runs("odd")[0]["result"]) == (None, CLAUDE_RESULT["result"])
