"""What each reader finds in the output of its program, and which class it gives its end."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from scheduler.core.values.usage import Cost, CostBasis, EndClass, ResultFormat, Tokens
from scheduler.run.results.ending import ProcessEnd
from scheduler.run.results.reading import read_result
from tests.run.results.shapes import (
    AT,
    CLAUDE_INIT,
    CLAUDE_RESULT,
    CODEX,
    GOOSE,
    OPENCODE,
    SESSION,
    WHOLE,
    claude_error,
    claude_limit,
    claude_said,
    lines,
    read,
)

CLAUDE, CODEX_, GEMINI = ResultFormat.CLAUDE, ResultFormat.CODEX, ResultFormat.GEMINI


def usd(amount: str) -> Cost:
    return Cost(amount=Decimal(amount), currency="USD", basis=CostBasis.REPORTED)


@pytest.mark.parametrize("name", WHOLE)
def test_an_output_as_it_should_be_fits_and_is_a_success(name: str) -> None:
    found = read(*WHOLE[name])
    assert (found.misfits, found.end_class, found.error) == ((), EndClass.OK, None)
    assert found.text


@pytest.mark.parametrize("name", ["claude", "claude-stream"])
def test_claude_tells_cost_tokens_of_all_models_and_the_session(name: str) -> None:
    found = read(*WHOLE[name], command=("/usr/bin/claude", "-p", "--model", "opus"))
    assert found.text == CLAUDE_RESULT["result"]
    assert found.cost == usd("0.0423")
    assert (found.tokens and found.tokens.input, found.tokens and found.tokens.output) == (312, 430)
    assert found.by_model["claude-opus-4-6"] == Tokens(input=12, output=410, cache_read=18000, cache_write=2100)
    assert (found.model_asked, found.model_served, found.other_model) == ("opus", "claude-opus-4-6", False)
    assert (found.session, found.resume) == (SESSION, ("/usr/bin/claude", "--resume", SESSION))
    assert found.denied == ("Bash",)


def test_codex_tells_tokens_without_a_price_and_the_model_it_was_rerouted_to() -> None:
    found = read(*WHOLE["codex"], command=("codex", "exec", "-m", "gpt-5.2"))
    assert (found.text, found.cost) == ("All is well.", None)
    assert found.tokens == Tokens(input=315, output=122, cache_read=24448, reasoning=64)
    assert (found.model_asked, found.model_served, found.other_model) == ("gpt-5.2", "gpt-5-mini", True)
    assert found.resume == ("codex", "resume", SESSION)


@pytest.mark.parametrize("name", ["gemini", "gemini-stream"])
def test_gemini_counts_thoughts_as_output_and_cached_input_apart(name: str) -> None:
    found = read(*WHOLE[name])
    assert (found.text, found.cost, found.model_served) == ("Nothing to do.", None, "gemini-3-pro")
    assert found.tokens is not None
    assert (found.tokens.input, found.tokens.output, found.tokens.cache_read) == (4000, 140, 5000)
    assert found.session == SESSION


def test_llm_tells_the_model_that_was_resolved() -> None:
    found = read(*WHOLE["llm"], command=("llm", "-m", "gpt-5", "--json"))
    assert (found.text, found.model_served, found.other_model) == ("Hi!", "gpt-5-2026-08-07", False)
    assert found.tokens == Tokens(input=20, output=13)
    assert found.resume == ("llm", "--cid", "01m8tyxzy4fbz09jvqdsgsx9pd")


def test_opencode_costs_the_sum_of_its_steps() -> None:
    found = read(*WHOLE["opencode"])
    assert (found.text, found.cost) == ("First.\nDone.", usd("0.03"))
    assert found.tokens == Tokens(input=150, output=35, cache_read=7, cache_write=3, reasoning=5)
    assert found.resume == ("opencode", "--session", "ses_1")


@pytest.mark.parametrize("name", ["goose", "goose-stream"])
def test_goose_tells_cost_and_neither_model_nor_session(name: str) -> None:
    found = read(*WHOLE[name])
    assert (found.text, found.cost) == ("Two files changed.", usd("0.5"))
    assert found.tokens == Tokens(input=100, output=30)
    assert (found.model_served, found.session, found.resume) == (None, None, None)


CLASSES: list[tuple[EndClass, ResultFormat, bytes, bytes, int]] = [
    (EndClass.TASK, CLAUDE, lines(claude_error(subtype="error_during_execution")), b"", 1),
    (EndClass.TASK, CLAUDE, lines(claude_error(subtype="error_max_turns", terminal_reason="max_turns")), b"", 1),
    (EndClass.TASK, CLAUDE, lines(CLAUDE_RESULT), b"", 1),
    (EndClass.TASK, CLAUDE, lines(claude_error()), b"", 0),
    (EndClass.QUOTA, CLAUDE, lines(claude_limit("rejected"), claude_error()), b"", 1),
    (EndClass.QUOTA, CLAUDE, lines(claude_error(api_error_status=429)), b"", 1),
    (EndClass.QUOTA, CLAUDE, lines(claude_error(result="Credit balance is too low")), b"", 1),
    (EndClass.TRANSIENT, CLAUDE, lines(claude_error(api_error_status=529)), b"", 1),
    (EndClass.CREDENTIAL, CLAUDE, lines(claude_error(api_error_status=401)), b"", 1),
    (EndClass.CREDENTIAL, CLAUDE, lines(claude_error(result="Invalid API key · Please run /login")), b"", 1),
    (EndClass.BUDGET, CLAUDE, lines(claude_error(subtype="error_max_budget_usd")), b"", 1),
    (EndClass.REFUSED, CLAUDE, lines(claude_error(permission_denials=CLAUDE_RESULT["permission_denials"])), b"", 1),
    (EndClass.OK, CLAUDE, lines(claude_limit("rejected"), claude_limit("allowed"), CLAUDE_RESULT), b"", 0),
    (EndClass.OK, CODEX_, lines(*CODEX), b"WARN: usage limit near\n", 0),
    (EndClass.TASK, CODEX_, lines(*CODEX[:2], {"type": "turn.failed", "error": {"message": "bad patch"}}), b"", 1),
    (
        EndClass.QUOTA,
        CODEX_,
        lines(
            *CODEX[:2], {"type": "turn.failed", "error": {"message": "You've hit your usage limit. Try again later."}}
        ),
        b"",
        1,
    ),
    (EndClass.CREDENTIAL, CODEX_, b"", b"Error: Not logged in. Run codex login\n", 1),
    (EndClass.TRANSIENT, CODEX_, lines(*CODEX[:3]), b"", 1),
    (EndClass.CREDENTIAL, GEMINI, b"", b'{"error": {"type": "X", "message": "no", "code": 41}}', 41),
    (EndClass.QUOTA, GEMINI, b"", b'{\n "error": {\n "type": "X",\n "message": "no",\n "code": 429\n }\n}\n', 173),
    (EndClass.TRANSIENT, GEMINI, b"", b'{"error": {"type": "X", "message": "no", "code": 503}}', 247),
    (EndClass.TASK, GEMINI, b"", b'{"error": {"type": "X", "message": "too many turns", "code": 53}}', 53),
    (EndClass.CREDENTIAL, ResultFormat.LLM, b"", b"Error: No key found - add one using 'llm keys set openai'\n", 1),
    (EndClass.TASK, ResultFormat.LLM, b"", b"Error: 'Unknown model: nope'\n", 1),
    (
        EndClass.REFUSED,
        ResultFormat.OPENCODE,
        lines(*OPENCODE, {"type": "done", "sessionID": "ses_1", "rejected": ["bash"]}),
        b"",
        1,
    ),
    (EndClass.QUOTA, ResultFormat.GOOSE, lines({"type": "error", "error": "Rate limit exceeded: 429"}), b"", 1),
    (EndClass.TASK, ResultFormat.TEXT, b"rate limit\n", b"401 unauthorized\n", 1),
    (EndClass.OK, ResultFormat.TEXT, b"Error: usage limit\n", b"", 0),
]


@pytest.mark.parametrize(("expected", "kind", "stdout", "stderr", "exit_code"), CLASSES)
def test_an_end_has_one_class(
    expected: EndClass, kind: ResultFormat, stdout: bytes, stderr: bytes, exit_code: int
) -> None:
    found = read(kind, stdout, stderr, exit_code=exit_code)
    assert found.end_class is expected
    assert (found.error is None) == (expected is EndClass.OK or (stdout == lines(CLAUDE_RESULT)))


def test_what_a_model_says_is_never_an_error_of_the_account() -> None:
    said = {**CODEX[6], "item": {"type": "agent_message", "text": "usage limit, 401 unauthorized, overloaded"}}
    failed = {"type": "turn.failed", "error": {"message": "the patch does not apply"}}
    assert read(CODEX_, lines(*CODEX[:2], said, failed), exit_code=1).end_class is EndClass.TASK


def test_a_run_that_the_scheduler_ended_has_the_class_it_is_given() -> None:
    found = read(CLAUDE, lines(CLAUDE_INIT), exit_code=-15, stopped=EndClass.TIMEOUT)
    assert (found.end_class, found.session) == (EndClass.TIMEOUT, SESSION)


def test_claude_names_the_limit_and_its_reset() -> None:
    found = read(CLAUDE, lines(claude_limit("rejected"), claude_error(api_error_status=429)), exit_code=1)
    assert (found.limit, found.reset_at) == ("five_hour", datetime.fromtimestamp(1_796_158_800, UTC))
    unknown = read(CLAUDE, lines(claude_limit("rejected", "soon"), claude_error(api_error_status=429)), exit_code=1)
    assert (unknown.limit, unknown.reset_at) == ("five_hour", None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("You've hit your usage limit. Try again at 3:04 PM.", "2026-12-01T14:04:00+00:00"),
        ("You've hit your usage limit or try again at Dec 3rd, 2026 9:30 AM.", "2026-12-03T08:30:00+00:00"),
        ("You've hit your usage limit. Try again at Feb 30th, 2026 9:30 AM.", None),
        ("You've hit your usage limit. Try again at 99:99 PM.", None),
        ("You've hit your usage limit. Try again later.", None),
        ("Quota exceeded. Your quota will reset after 2h39m10s.", "2026-12-01T14:39:10+00:00"),
        ("Quota exceeded. Please retry in 12.5s.", "2026-12-01T12:00:12+00:00"),
    ],
)
def test_a_reset_in_words_is_read_in_the_zone_of_the_process(said: str, expected: str | None) -> None:
    failed = {"type": "turn.failed", "error": {"message": said.replace("Try", "try")}}
    found = read(CODEX_, lines(*CODEX[:2], failed), exit_code=1, zone=ZoneInfo("Europe/Berlin"))
    assert found.end_class is EndClass.QUOTA
    assert (found.reset_at and found.reset_at.isoformat()) == expected


def test_a_reset_just_before_midnight_is_of_the_day_before() -> None:
    failed = {"type": "turn.failed", "error": {"message": "usage limit, try again at 11:59 PM."}}
    ending = ProcessEnd(command=("codex",), exit_code=1, at=datetime(2026, 12, 2, 0, 0, 30, tzinfo=UTC))
    found = read_result(CODEX_, [lines(failed)], [], ending)
    assert found.reset_at == datetime(2026, 12, 1, 23, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "90"}, "2026-12-01T12:01:30+00:00"),
        ({"retry-after-ms": "1500"}, "2026-12-01T12:00:01.500000+00:00"),
        ({"retry-after": "Wed, 02 Dec 2026 06:00:00 GMT"}, "2026-12-02T06:00:00+00:00"),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 50}, None),
        ({}, None),
    ],
)
def test_opencode_passes_the_headers_of_the_answer_on(headers: dict[str, str], expected: str | None) -> None:
    data = {"message": "Too many requests", "statusCode": 429, "isRetryable": True, "responseHeaders": headers}
    error = {"type": "error", "sessionID": "ses_1", "error": {"name": "APIError", "data": data}}
    found = read(ResultFormat.OPENCODE, lines(*OPENCODE, error), exit_code=1)
    assert found.end_class is EndClass.QUOTA
    assert (found.reset_at and found.reset_at.isoformat()) == expected


def test_the_last_of_two_results_counts() -> None:
    found = read(CLAUDE, lines(CLAUDE_RESULT, {**CLAUDE_RESULT, "result": "Second.", "total_cost_usd": 0.5}))
    assert (found.text, found.cost) == ("Second.", usd("0.5"))


@pytest.mark.parametrize("amount", ["NaN", "-1", "1e9", "Infinity", '"0.1"', "true", "[]", "1e99999999999999999999"])
def test_a_cost_that_is_no_amount_is_unknown_and_the_rest_is_kept(amount: str) -> None:
    told = json.dumps({**CLAUDE_RESULT, "total_cost_usd": 7}).replace(
        '"total_cost_usd": 7', f'"total_cost_usd": {amount}'
    )
    found = read(CLAUDE, told.encode())
    assert (found.cost, found.text, found.session) == (None, CLAUDE_RESULT["result"], SESSION)


def test_a_cost_of_nothing_is_known_and_a_missing_one_is_not() -> None:
    assert read(CLAUDE, lines({**CLAUDE_RESULT, "total_cost_usd": 0})).cost == usd("0")
    assert read(CLAUDE, lines({key: CLAUDE_RESULT[key] for key in CLAUDE_RESULT if "cost" not in key})).cost is None


def test_a_session_that_a_shell_would_read_is_not_offered() -> None:
    found = read(CLAUDE, lines({**CLAUDE_RESULT, "session_id": "x; rm -rf ~"}))
    assert (found.session, found.resume, found.fits) == (None, None, False)


def test_an_option_as_session_is_not_offered() -> None:
    assert read(CLAUDE, lines({**CLAUDE_RESULT, "session_id": "--dangerous"})).resume is None


@pytest.mark.parametrize("kind", [each for each in ResultFormat if each is not ResultFormat.TEXT])
def test_an_output_of_another_shape_keeps_its_text_and_says_so(kind: ResultFormat) -> None:
    found = read(kind, b"Hello \xff there\n")
    assert (found.text, found.fits, found.cost, found.tokens) == ("Hello � there\n", False, None, None)
    assert found.end_class is EndClass.OK
    assert "the command needs" in found.misfits[0]


def test_text_around_the_json_is_passed_over() -> None:
    stdout = b"Loaded credentials.\n[warn] x\n" + WHOLE["gemini"][1] + b"\nbye\n"
    found = read(GEMINI, stdout)
    assert (found.text, found.fits) == ("Nothing to do.", True)


def test_invalid_utf8_in_the_result_is_replaced() -> None:
    found = read(CLAUDE, WHOLE["claude"][1].replace(b"Three", b"Thr\xffee"))
    assert found.text is not None
    assert found.text.startswith("Thr�ee")
    assert found.cost == usd("0.0423")


def test_an_output_cut_in_its_middle_keeps_what_the_last_line_says_and_no_sums() -> None:
    marker = b"\n[... 999 bytes not kept ...]\n"
    claude = read(CLAUDE, lines(CLAUDE_INIT)[:-9] + marker + b'xx"}\n' + lines(CLAUDE_RESULT))
    assert (claude.cost, claude.fits) == (usd("0.0423"), True)
    steps = lines(*OPENCODE[:3])[:-9] + marker + b'xx"}\n' + lines(*OPENCODE[3:])
    found = read(ResultFormat.OPENCODE, steps)
    assert (found.cost, found.tokens, found.fits) == (None, None, False)
    assert found.session == "ses_1"


def test_a_document_cut_in_its_middle_keeps_the_metadata_at_its_end() -> None:
    whole = {**GOOSE, "messages": [GOOSE["messages"][2]] * 200}
    text = json.dumps(whole, indent=2).encode()
    found = read(ResultFormat.GOOSE, text[:2000] + b"\n[... 9 bytes not kept ...]\n" + text[-1000:])
    assert (found.text, found.cost, found.fits) == ("Two files changed.", usd("0.5"), False)


def test_a_stream_of_100_mb_needs_little_memory() -> None:
    noise = lines(claude_said("x" * 10_000)) * 10

    def stream() -> Iterator[bytes]:
        yield lines(CLAUDE_INIT)
        for _ in range(1000):
            yield noise
        yield lines(CLAUDE_RESULT)

    tracemalloc.start()
    found = read_result(CLAUDE, stream(), [], ProcessEnd(command=("claude",), exit_code=0, at=AT))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.cost == usd("0.0423")
    assert most < 64 * 2**20


def test_a_long_answer_is_cut_to_what_a_run_shows() -> None:
    found = read(CLAUDE, lines({**CLAUDE_RESULT, "result": "ä" * 100_000}))
    assert found.text is not None
    assert len(found.text.encode()) == 64 * 1024


def test_lone_surrogates_and_deep_nesting_are_survived() -> None:
    found = read(CLAUDE, WHOLE["claude"][1].replace(b"Three", b"\\ud800"))
    assert found.text is not None
    found.text.encode()
    assert read(CLAUDE, b'{"type": "result", "x": ' + b"[" * 100_000).fits is False
