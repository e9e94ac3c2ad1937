"""Runs: work that outlives its clients.

    runs = Runs(SQLiteStore("runs.sqlite"))
    run = await runs.start(source(), fold=last)
    return run.response()

`work` is what users hold. `producing` does the work of one run and writes its `records` to the store, `feeds` reads
them once for each process, and `followers` are those who read along. `answers` and `routes` are their HTTP, and
`workers` guesses whether there are several processes.
"""

from __future__ import annotations

from .work import Run, Runs

__all__ = ["Run", "Runs"]
