"""What was measured: one JSON line for each measurement, and medians, spreads and ratios over the rounds."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Measured:
    """Median, least and greatest of the rounds."""

    median: float
    least: float
    greatest: float
    rounds: int

    @staticmethod
    def of(values: Iterable[float]) -> Measured:
        """Raises: statistics.StatisticsError, if there are no values."""
        found = sorted(values)
        return Measured(statistics.median(found), found[0], found[-1], len(found))


class Results:
    """The records of a run, kept in a file to which each is appended as soon as it is known.

    A record says what was measured (`row`), of which `system`, at which `size`, in which `round`, and the `values`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.records: list[dict[str, Any]] = []
        if path.exists():
            self.records = [json.loads(line) for line in path.read_text().splitlines()]
        # Rounds of another run are others: ratios compare one with itself.
        self._first = 1 + max((record["round"] for record in self.records), default=-1)

    def add(self, row: str, system: str, size: int, number: int, **values: Any) -> None:
        record = {"row": row, "system": system, "size": size, "round": self._first + number, "values": values}
        self.records.append(record)
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        said = " ".join(
            f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
        )
        print(f"{row:<10} {system:<20} {size:>9,} #{number}: {said[:150]}", flush=True)

    def _rounds(self, row: str, system: str, size: int, value: str) -> Iterator[tuple[int, float]]:
        for record in self.records:
            if (record["row"], record["system"], record["size"]) == (row, system, size):
                found = record["values"].get(value)
                if found is not None:
                    yield record["round"], found

    def _medians(self, row: str, system: str, size: int, value: str) -> dict[int, float]:
        rounds: dict[int, list[float]] = {}
        for number, found in self._rounds(row, system, size, value):
            rounds.setdefault(number, []).append(found)
        return {number: statistics.median(found) for number, found in rounds.items()}

    def get(self, row: str, system: str, size: int, value: str) -> Measured | None:
        """What the rounds came to; None if it was not measured."""
        found = [each for _, each in self._rounds(row, system, size, value)]
        return Measured.of(found) if found else None

    def ratio(self, row: str, systems: tuple[str, str], size: int, value: str) -> Measured | None:
        """The first system's median over the second's, round by round; None if no round has both."""
        ours, theirs = (self._medians(row, system, size, value) for system in systems)
        both = [ours[number] / theirs[number] for number in ours if theirs.get(number)]
        return Measured.of(both) if both else None

    def sizes(self, row: str, system: str | None = None) -> list[int]:
        found = {each["size"] for each in self.records if each["row"] == row and system in (None, each["system"])}
        return sorted(found)

    def systems(self, row: str) -> list[str]:
        """In the order in which they were measured first."""
        return list(dict.fromkeys(each["system"] for each in self.records if each["row"] == row))
