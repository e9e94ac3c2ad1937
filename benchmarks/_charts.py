"""Charts of the results as SVG files, readable on light and on dark pages."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

OURS, THEIRS, LIMIT = "#0b7285", "#adb5bd", "#e8a33d"


def bars(path: Path, values: Mapping[str, float], unit: str) -> None:
    """Draw horizontal bars with the number at each bar; the smallest value at the bottom."""
    rows = sorted(values.items(), key=lambda row: row[1])
    # The same input gives the same file.
    with mpl.rc_context({"svg.hashsalt": path.name, "font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(8, 0.36 * len(rows) + 0.7), layout="constrained", facecolor="white")
        axes = figure.add_subplot()
        colours = [OURS if name.startswith("ours") else LIMIT if "floor" in name else THEIRS for name, _ in rows]
        drawn = axes.barh([name for name, _ in rows], [value for _, value in rows], color=colours, height=0.72)
        axes.bar_label(drawn, [f"{value:.2f}" if value < 10 else f"{value:.0f}" for _, value in rows], padding=4)
        axes.set_xlim(right=max(values.values()) * 1.08)
        axes.set_xlabel(unit)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None})
