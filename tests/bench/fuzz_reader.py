"""Coverage-guided fuzzing of the readers, for as long as one likes; needs `pip install atheris` (Linux).

    python tests/bench/fuzz_reader.py FOLDER -max_total_time=600

FOLDER keeps what it finds interesting; other options are those of libFuzzer. It starts from the golden files and
jobs.example. A file that breaks what tests/core/formats/test_fuzz.py demands is written as crash-*: make it an example
there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

TOP = Path(__file__).parents[2]
sys.path.insert(0, str(TOP))

with atheris.instrument_imports(include=["scheduler.core"]):
    from tests.core.formats.test_fuzz import SEEDS, check_job_file, check_root_file


def one(data: bytes) -> None:
    """The first byte says which reader and under which name."""
    kind, rest = data[:1], data[1:]
    if kind < b"\x40":
        check_root_file(rest)
    else:
        check_job_file(rest, "jobs/a.md" if kind < b"\x80" else "jobs/a.yaml")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        for kind in (b"\x20", b"\x60", b"\xa0"):
            (folder / f"seed-{number}-{kind.hex()}").write_bytes(kind + seed)
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
