"""The text that runs is the text that was written, byte for byte, in whatever kind of file it is kept."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from scheduler.core.values.facts import Fault, Task
from scheduler.core.values.settings import RunnerSpec, Settings, TaskInput
from scheduler.core.values.spec import JobSpec, Schedule
from scheduler.root.files import WorkingTree
from scheduler.root.place import Place
from scheduler.root.tasks import read_task

SETTINGS = Settings(runners={"cat": RunnerSpec(name="cat", command=("cat",), input=TaskInput.STDIN)})
HEAD = 'id: a\nschedule: "0 * * * *"\nrunner: cat\n'
OTHER = HEAD.replace("id: a", "id: other") + "task: another\n"

TEXTS = {
    "one line": "Summarise the log.",
    "a final newline": "Summarise the log.\n",
    "many final newlines": "Summarise the log.\n\n\n",
    "a hash": "Review PR #42 and say what is left # to do\n",
    "a key and a value": "note: this is no key\n- nor this a list\n",
    "quotes": 'Say "it\'s done", and \'no more\' than that: """\n',
    "backslashes": "C:\\temp\\new\\x41 \\n \\\\ \\\n",
    "braces and dollars": "{task} {{ x }} ${HOME} $(id) `id` %s %(x)s {0}\n",
    "a document mark": "before\n--- \nbetween\n...\nafter\n",
    "front matter": "---\nid: b\n---\nbody\n",
    "Markdown": "# Title\n\n* one\n  * two\n\n```sh\necho hi\n```\n",
    "an option": "--help\n",
    "tabs": "a\tb\n\tindented\n",
    "trailing blanks": "two blanks  \nand a tab\t\nend\n",
    "indented first": "    four\n  two\nnone\n",
    "empty lines first": "\n\nafter two\n",
    "emoji": "👩‍👩‍👧‍👦 ok 🏳️‍🌈 ✓\n",
    "combining marks": "e\u0301 is not \u00e9; \u212b is not \u00c5\n",
    "right to left": "שלום ‏(a)‏ مرحبا\n",
    "blanks that are none": "a\u00a0b\u2003c\u3000d\n",
    "separators of lines": "a\u2028b\u2029c\n",
    "a mark of byte order inside": "a\ufeffb\n",
    "words that mean something": "null\n",
    "a very long line": "x" * 70_000 + "\n",
    "an alias": "*a &b !c %d @e\n",
}


def block(text: str) -> str:
    """As a literal block: with its indentation told, and every final newline kept."""
    return HEAD + "task: |2+\n" + textwrap.indent(text, "  ", lambda _: True)


def quoted(text: str) -> str:
    """As YAML's double-quoted form, which a string of JSON is where it holds no surrogates."""
    return f"{HEAD}task: {json.dumps(text, ensure_ascii=False)}\n"


def escaped(text: str) -> str:
    return HEAD + 'task: "' + "".join(f"\\U{ord(each):08x}" for each in text) + '"\n'


SHAPES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "task file": ("prompts/a.txt", str, HEAD + "task_source_path: prompts/a.txt\n"),
    "Markdown task file": ("prompts/a.md", str, HEAD + "task_source_path: prompts/a.md\n"),
    "task file of a Markdown job": ("prompts/a.txt", str, ""),
    "Markdown body": ("job.md", lambda text: f"---\n{HEAD}---\n{text}", ""),
    "literal block": ("job.yaml", block, ""),
    "double quotes": ("job.yaml", quoted, ""),
    "escapes": ("job.yaml", escaped, ""),
    "second document": ("job.yaml", lambda text: f"{OTHER}---\n{quoted(text)}---\n{OTHER.replace('other', 'c')}", ""),
}
# What the parser cannot read from there. It says so, and takes no other text instead.
REFUSED = {(shape, "a mark of byte order inside") for shape in ("literal block", "double quotes", "second document")}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_what_was_written_or_is_refused(tmp_path: Path, name: str, shape: str) -> None:
    path, written, job = SHAPES[shape]
    text = TEXTS[name]
    (tmp_path / "prompts").mkdir()
    (tmp_path / path).write_bytes(written(text).encode())
    task_path = path if path.startswith("prompts") else None
    job_path = "job.yaml" if job else path
    if shape == "task file of a Markdown job":
        job_path = "job.md"
        (tmp_path / job_path).write_text(f"---\n{HEAD}task_source_path: {path}\n---\n")
    elif job:
        (tmp_path / job_path).write_text(job)
    place = Place(root=tmp_path, state=tmp_path / ".scheduler", db=tmp_path / ".scheduler/state.db")
    spec = JobSpec(
        id="a", name="a", schedule=Schedule(timezone="UTC", cron="0 * * * *"), runner="cat", task_source_path=task_path
    )
    found = read_task(WorkingTree(place), spec, job_path, SETTINGS)
    if (shape, name) in REFUSED:
        assert isinstance(found, Fault), found
    else:
        assert isinstance(found, Task), found
        assert found.text == text.encode()
