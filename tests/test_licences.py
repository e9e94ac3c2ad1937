"""The licences of what the library needs, as `docs/security.md` lists them, come from the packages themselves.

REWRITE_LICENCES=1 pytest tests/test_licences.py    writes the table anew
"""

import os
import re
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PAGE = Path(__file__).parents[1] / "docs" / "security.md"
BEGIN, END = "<!-- licences: begin -->\n", "<!-- licences: end -->\n"
EXTRAS = ("fastapi", "client", "redis", "nats", "llm", "otel", "prometheus", "cli")
"""All but `local`, which is a language model and is installed by itself."""
PERMISSIVE = re.compile(r"MIT|MIT-CMU|BSD(-[23]-Clause)?|Apache(-2\.0)?|MPL-2\.0|PSF-2\.0|ISC|0BSD|Unlicense")
"""MPL-2.0 asks for changes of its own files, and of nothing else."""


FLOOR = {
    "python_version": "3.11",
    "python_full_version": "3.11.9",
    "implementation_name": "cpython",
    "platform_python_implementation": "CPython",
    "sys_platform": "linux",
    "os_name": "posix",
    "platform_system": "Linux",
}
"""Where the table is for: it must not depend on where it is made."""


def licence_of(name):
    """Give what a package says of its licence: the expression, else the old field, else the classifiers."""
    metadata = distribution(name).metadata
    said = metadata.get("License-Expression") or metadata.get("License") or ""
    if not said or len(said) > 60:
        said = " or ".join(
            kind.rpartition(" :: ")[2] for kind in metadata.get_all("Classifier", []) if kind.startswith("License ::")
        )
    names = {"MIT License": "MIT", "Apache 2.0": "Apache-2.0", "Apache License 2.0": "Apache-2.0", "BSD License": "BSD"}
    names["ISC License"] = "ISC"
    said = re.sub(r"Apache Software License", "Apache-2.0", said)
    return names.get(said, said)


def needed(name, extras, found):
    """Collect the packages that a package needs, and theirs."""
    for text in requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker and not any(
            requirement.marker.evaluate({**FLOOR, "extra": extra}) for extra in ("", *extras)
        ):
            continue
        wanted = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if wanted not in found and wanted != "dual-mode-streaming":
            distribution(wanted)
            found.add(wanted)
            needed(wanted, tuple(requirement.extras), found)
    return found


def table():
    core = needed("dual-mode-streaming", (), set())
    of_extras: dict[str, list[str]] = {}
    for extra in EXTRAS:
        try:
            for name in needed("dual-mode-streaming", (extra,), set()) - core:
                of_extras.setdefault(name, []).append(extra)
        except PackageNotFoundError:
            continue  # not in the environment of the tests
    lines = ["| package | licence | comes with |", "|---|---|---|"]
    lines += [f"| {name} | {licence_of(name)} | the library |" for name in sorted(core)]
    lines += [f"| {name} | {licence_of(name)} | {', '.join(of_extras[name])} |" for name in sorted(of_extras)]
    return "\n".join(lines) + "\n"


def test_the_page_lists_the_licences_of_all_that_is_needed():
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    listed, _, after = rest.partition(END)
    found = f"\n{table()}\n"
    if os.environ.get("REWRITE_LICENCES"):
        PAGE.write_text(before + BEGIN + found + END + after, "utf-8")
        return
    assert listed == found, "write the table anew with: REWRITE_LICENCES=1 pytest tests/test_licences.py"


@pytest.mark.parametrize("row", table().splitlines()[2:])
def test_every_licence_is_permissive(row):
    _, name, licence, _, _ = (cell.strip() for cell in row.split("|"))
    assert licence, f"{name} does not say what its licence is"
    for part in re.split(r" AND | OR | or |[()]", licence):
        assert not part.strip() or PERMISSIVE.fullmatch(part.strip()), f"{name}: {licence}"
