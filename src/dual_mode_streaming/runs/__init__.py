"""Runs: work that outlives its clients.

    runs = Runs(SQLiteStore("runs.sqlite"))
    run = await runs.start(source(), fold=last)
    return run.response()

`work` is what users hold, and `run` what it gives them. `producing` does the work of one run and writes its `records`
to the store, `feeds` reads them once for each process, and `followers` are those who read along. `answers` and
`routes` are their HTTP. `names` are given to one run after the other, and `housekeeping` keeps the store tidy.
"""

from __future__ import annotations

from .run import Run
from .work import Runs

__all__ = ["Run", "Runs"]
