"""References and their values: resolved for a send, and hidden everywhere else."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.core.values.channels import Channel
from scheduler.core.values.references import Reference
from scheduler.delivery.secrets import HIDDEN, MOST_BYTES, Scrubber, SecretError, read_reference, resolve, resolve_url


def test_a_channel_is_resolved_from_variables_and_files_and_says_what_to_hide(tmp_path: Path) -> None:
    (tmp_path / "pw").write_bytes(b"p@ss/1\n")
    url = f"mailtos://${{env:USER_NAME}}:${{file:{tmp_path}/pw}}@smtp.example.com?to=a@example.com"
    found = resolve(Channel(name="mail", url=url), {"USER_NAME": "me"})
    assert found.channel.url == "mailtos://me:p%40ss%2F1@smtp.example.com?to=a@example.com"
    assert found.hidden == ("me", "p@ss/1")


def test_a_secret_of_a_webhook_is_not_percent_encoded() -> None:
    hook = Channel(name="ci", webhook="https://example.com/${env:HOOK}", secrets=("${env:KEY}",))
    found = resolve(hook, {"HOOK": "a b", "KEY": "whsec_a/b+c="})
    assert (found.channel.webhook, found.channel.secrets) == ("https://example.com/a%20b", ("whsec_a/b+c=",))
    assert resolve_url("${env:HC}", {"HC": "https://hc/uuid"}) == ("https://hc/uuid", ("https://hc/uuid",))


@pytest.mark.parametrize(
    ("environ", "words"),
    [({}, "is not set"), ({"A": ""}, "is empty"), ({"A": "se\ncret"}, "control character"), ({"A": "se\0"}, "control")],
)
def test_a_variable_that_cannot_be_used_is_named_without_its_value(environ: dict[str, str], words: str) -> None:
    with pytest.raises(SecretError, match=words) as caught:
        read_reference(Reference("env", "A"), environ)
    assert str(caught.value).startswith("${env:A}: ")
    assert "se" not in str(caught.value).replace("set", "").replace("Set", "").replace("newline", "")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"a" * (MOST_BYTES + 1), "64 KiB"),
        (b"a\0b", "control character"),
        (b"\xff\xfe", "UTF-8"),
        (b"a\n\n", "control character"),
    ],
)
def test_a_file_that_is_no_secret_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "s").write_bytes(content)
    with pytest.raises(SecretError, match=words):
        read_reference(Reference("file", f"{tmp_path}/s"), {})


def test_a_file_that_is_absent_or_a_folder_or_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("absent", "", "pipe"):
        with pytest.raises(SecretError, match="file"):
            read_reference(Reference("file", f"{tmp_path}/{name}"), {})


@given(st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=4), st.text(max_size=9), st.text(max_size=9))
def test_no_form_of_a_secret_is_left(secret: str, before: str, after: str) -> None:
    scrub = Scrubber([secret])
    for form in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        b64encode(secret.encode()).decode(),
    ):
        assert form not in scrub(f"{before} {form} {after}") or form in HIDDEN


def test_the_parts_of_a_secret_url_are_hidden_too() -> None:
    scrub = Scrubber(["slack://TOKENA/TOKENB/TOKENC?x=TOKEN%20D", "mailtos://me:p%40ss@smtp.example.com"])
    said = "TOKENA TOKENB TOKENC 'TOKEN D' p@ss " + b64encode(b"me:p@ss").decode()
    assert scrub(said).replace("=", "") == f"{HIDDEN} {HIDDEN} {HIDDEN} '{HIDDEN}' {HIDDEN} {HIDDEN}"


def test_a_short_value_is_hidden_as_a_word_and_leaves_other_words_alone() -> None:
    assert Scrubber(["me", "25"])("timeout of me at :25, error=425") == f"timeout of {HIDDEN} at :{HIDDEN}, error=425"


def test_without_secrets_words_stay() -> None:
    assert Scrubber([""])("HTTP 404") == "HTTP 404"
