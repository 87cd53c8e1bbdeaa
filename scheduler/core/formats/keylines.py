"""The lines of a file on which each key is, for marking changes."""

from __future__ import annotations

from collections.abc import Mapping

from scheduler.core.formats.frontmatter import fences_of, is_markdown
from scheduler.core.formats.yamlfile import YamlDocument, read_yaml
from scheduler.core.values.texts import TextError, decode

KeyLines = Mapping[str, range]  # by dotted key, such as retry.attempts; the key's own line first
BODY = "task"  # the body of a Markdown job is listed under this key


def job_key_lines(path: str, data: bytes) -> dict[str, KeyLines]:
    """The lines of every key, by the id of its document; empty if the file cannot be read."""
    try:
        text = decode(data)
        fences = fences_of(text) if is_markdown(path) else None
        documents = read_yaml(text) if fences is None else read_yaml(text, fences.start, fences.end)
    except TextError:
        return {}
    found: dict[str, KeyLines] = {}
    for document in documents:
        if isinstance(document.data, dict) and isinstance(job_id := document.data.get("id"), str):
            lines = _key_lines(document)
            if fences is not None:
                lines[BODY] = range(document.lines.place(fences.body)[0], text.count("\n") + 2)
            found[job_id] = lines
    return found


def setting_lines(data: bytes) -> KeyLines:
    """The lines of every key of scheduler.yaml; empty if it cannot be read."""
    try:
        documents = read_yaml(decode(data))
    except TextError:
        return {}
    return _key_lines(documents[0]) if documents else {}


def _key_lines(document: YamlDocument) -> dict[str, range]:
    place, found = document.lines.place, dict[str, range]()
    for path, spot in document.spots.items():
        start, end = place(spot.key)[0], place(max(spot.key, spot.end - 1))[0]
        found[".".join(map(str, path))] = range(start, end + 1)
        for length in range(1, len(path)):  # a key has the lines of everything inside it
            around = ".".join(map(str, path[:length]))
            found[around] = range(found[around].start, max(found[around].stop, end + 1))
    found.pop("")  # the document itself
    return found
