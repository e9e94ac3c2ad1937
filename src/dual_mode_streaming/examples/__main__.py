"""All examples, one after the other, each in a process of its own, and how they went: `make examples`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from dual_mode_streaming.examples import example_1_basic_streaming as first

FOLDER = Path(first.__file__).parent


def title(path: Path) -> str:
    """Give what an example is about: the first sentence of its text, without its number."""
    sentence = path.read_text("utf-8").partition('"""')[2].partition(".")[0]
    return sentence.partition(": ")[2]


def main() -> int:
    """Run them. Give 0 if all have ended well."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 100
    table = Table("example", "about", "time", "", box=box.SIMPLE_HEAD)
    failed = 0
    for path in sorted(FOLDER.glob("example_*.py")):
        number = path.stem.split("_")[1]
        console.rule(f"[bold]Example {number}: {title(path)}[/]", align="left")
        sys.stdout.flush()
        began = time.monotonic()
        code = subprocess.run([sys.executable, str(path)], check=False).returncode  # noqa: S603  our own files
        failed += code != 0
        how = "[green]ok[/]" if code == 0 else f"[red]failed, status {code}[/]"
        table.add_row(number, title(path), f"{time.monotonic() - began:.1f} s", how)
        console.print()
    console.rule("[bold]Summary[/]", align="left")
    console.print(table)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
