"""Interleaved rounds: every variant has its turn in each, and a ratio is taken inside of a round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from typing import Self

from _serving import CONSOLE, Server
from rich.table import Table

Spread = tuple[float, float, float]
"""Median, smallest and largest."""


def spread(values: Iterable[float]) -> Spread:
    values = list(values)
    return statistics.median(values), min(values), max(values)


def shown(values: Spread, digits: int = 2) -> str:
    middle, low, high = values
    return f"{middle:.{digits}f} [{low:.{digits}f}..{high:.{digits}f}]"


class Rounds:
    """The values of all variants, round by round."""

    def __init__(self, names: Iterable[str]) -> None:
        self.values: dict[str, list[float]] = {name: [] for name in names}

    def run(self, rounds: int, measure: Callable[[str, bool], float]) -> None:
        """Call `measure(name, warms_up)` for every variant, in one round to warm up and in so many that count."""
        for number in range(rounds + 1):
            for name, values in self.values.items():
                value = measure(name, number == 0)
                if number:
                    values.append(value)

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratio(self, name: str, to: str) -> Spread:
        return spread(a / b for a, b in zip(self.values[name], self.values[to], strict=True))


class Goals:
    """What was wanted and what came out, to be printed at the end."""

    def __init__(self) -> None:
        self._table = Table("goal", "wanted", "measured, median \\[min..max]", "", title="Goals")

    def at_least(self, what: str, wanted: float, measured: Spread) -> None:
        self._add(what, f"at least {wanted:g}", measured, met=measured[0] >= wanted)

    def at_most(self, what: str, wanted: float, measured: Spread) -> None:
        self._add(what, f"at most {wanted:g}", measured, met=measured[0] <= wanted)

    def _add(self, what: str, wanted: str, measured: Spread, *, met: bool) -> None:
        self._table.add_row(what, wanted, shown(measured), "met" if met else "[bold]missed[/bold]")

    def print(self) -> None:
        CONSOLE.print(self._table)


class Servers:
    """One server for each application of _ours.py and _peers.py, started when it is first needed."""

    def __init__(self) -> None:
        self._servers: dict[str, Server] = {}

    def __getitem__(self, factory: str) -> Server:
        if factory not in self._servers:
            module = "_ours" if factory.startswith("ours") else "_peers"
            self._servers[factory] = Server(module, factory, quiet=True)
        return self._servers[factory]

    def replace(self, factory: str) -> None:
        """Kill a server that hangs. The next one to ask for it gets a new one."""
        self._servers.pop(factory).kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers.values():
            server.stop()
