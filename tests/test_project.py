"""The project as a whole: its layers, its exports, and what no file of it may hold."""

import ast
import graphlib
import importlib
import inspect
import os
import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

import dual_mode_streaming

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dual_mode_streaming"
PACKAGE = "dual_mode_streaming"

# A module imports from lower lines, and within its line only without a cycle. A package stands for all its modules,
# unless some of them have lines of their own: then all have.
# `__init__` is the front: it names what users import, so only what is written like a user's program imports from it.
LINES = {
    0: "errors headers lazy",
    1: "events jsonbytes negotiation folds stores.base",
    2: (
        "_sse_paths sse jsonlines modes client.options client.places client.replies client.typed llm.events "
        "llm.requests llm.written"
    ),
    3: "tasks flow pace sources inbox formats observers entries signals client.reading",
    4: (
        "workers lifecycle streams options client.reconnecting llm.completion llm.fold "
        "stores.pauses stores.bells stores.memory stores.observed stores._sqlite_tables stores.sqlite "
        "stores._frames stores._nats_messages stores._redis_scripts"
    ),
    5: (
        "answers heads batch stream pushed plain_life plain refusals exchange streaming decorator drained client "
        "client.base "
        "client.async_stream client.sync_stream client.async_client client.sync_client llm.dialects "
        "llm.models llm.timings llm.shaping llm.serving"
    ),
    6: (
        "fastapi channels llm.router llm.desk llm.keys llm.background runs stores "
        "stores._nats_link stores._nats_bell stores._nats_history stores.nats stores._redis_bell stores.redis"
    ),
    7: "__init__ testing telemetry llm",
    8: "playground examples pytest_plugin",
    9: "cli",
}
LINE_OF = {name: line for line, names in LINES.items() for name in names.split()}

CODECS = 2
"""Up to this line modules are sans-IO: they know no clock, no tasks, no sockets, and nothing of a framework."""
CORE = 5
"""Up to this line modules are loaded by users who have installed no extra."""
KEPT_OUT_OF_CODECS = {
    "asyncio",
    "concurrent",
    "random",
    "select",
    "selectors",
    "socket",
    "subprocess",
    "threading",
    "time",
}
FOREIGN_IN_CODECS = {"orjson"}
FOREIGN_IN_CORE = {"orjson", "starlette", "anyio"}


def module_name(path):
    """`playground.app` for src/dual_mode_streaming/playground/app.py, `__init__` for the package itself."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


PATHS = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}
each_module = pytest.mark.parametrize("module", PATHS)


@cache
def tree_of(module):
    return ast.parse(PATHS[module].read_text("utf-8"))


def place_of(module):
    """Give the name under which a module is in the table: its own, or that of the package that stands for it."""
    names = [module.rsplit(".", cut)[0] for cut in range(module.count(".") + 1)]
    return next((name for name in names if name in LINE_OF and not (name != module and has_places(name))), None)


def has_places(package):
    """Whether the modules of a package have lines of their own."""
    return any(name.startswith(f"{package}.") for name in LINE_OF)


def line_of(module):
    return LINE_OF.get(place_of(module))


def own_imports(module):
    """The modules of this package that a module imports anywhere, also in functions and only for checkers."""
    package = PATHS[module].relative_to(SOURCE).parts[:-1]
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            found = [alias.name.partition(".")[2] for alias in node.names if in_package(alias.name)]
        elif isinstance(node, ast.ImportFrom) and (node.level or in_package(node.module)):
            if node.level:
                base = [*package[: len(package) + 1 - node.level], *(node.module.split(".") if node.module else ())]
            else:
                base = node.module.split(".")[1:]
            found = [target(".".join(base), alias.name) for alias in node.names]
        else:
            continue
        yield from (name or "__init__" for name in found)


def in_package(name):
    return name.partition(".")[0] == PACKAGE


def target(base, name):
    """The module that `from base import name` is about: a module of that name, else the base."""
    inner = f"{base}.{name}" if base else name
    return inner if inner in PATHS else base


# --- layers --------------------------------------------------------------------------------------


@each_module
def test_a_module_has_its_place_in_the_layers(module):
    assert line_of(module) is not None, f"{module} is on no line of the table LINES; say on which it belongs"


def test_every_place_in_the_layers_has_its_module():
    stale = set(LINE_OF) - {place_of(module) for module in PATHS}
    assert not stale, f"the table LINES names modules that do not exist: {sorted(stale)}"


def test_the_architecture_shows_the_same_layers():
    """All of them but what is private, and what only its package imports."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = re.search(r"## Layers\n.*?```text\n(.*?)```", page, re.DOTALL)[1]
    shown, line = {}, None
    for row in block.splitlines():
        line = int(row[0]) if row[0].isdigit() else line
        shown |= dict.fromkeys(row[1:].split(), line)
    assert shown == {name: LINE_OF.get(name) for name in shown}
    modules = {name for name in LINE_OF if "." not in name and not name.startswith("_")}
    assert modules - set(shown) == {"stores", "llm"}  # their modules have lines of their own


@each_module
def test_a_module_imports_only_from_lower_lines(module):
    line = line_of(module)
    wrong = [name for name in own_imports(module) if line_of(name) is None or line_of(name) > line]
    assert not wrong, "; ".join(
        f"{module} on line {line} imports {name} on line {line_of(name)}, which is above it" for name in wrong
    )


def test_no_modules_import_each_other_in_a_circle():
    graph = {module: set(own_imports(module)) - {module} for module in PATHS}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"these modules import each other: {' -> '.join(reversed(error.args[1]))}")


@each_module
def test_the_core_needs_no_extra_and_the_codecs_no_framework(module):
    """Only what is imported when the module is loaded counts; an import in a function is a choice of its caller."""
    line = line_of(module)
    if line > CORE:
        return
    allowed = FOREIGN_IN_CODECS if line <= CODECS else FOREIGN_IN_CORE
    for name in foreign_imports(module):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            assert line > CODECS or top not in KEPT_OUT_OF_CODECS, f"{module} is sans-IO, but imports {name}"
        else:
            assert top in allowed, f"{module} on line {line} imports {name}, which not every user has"


def foreign_imports(module):
    for node in when_loaded(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if not in_package(alias.name))
        elif isinstance(node, ast.ImportFrom) and not node.level and not in_package(node.module):
            yield node.module


def when_loaded(node):
    """The statements that run when a module is loaded: not those of functions, nor those for checkers."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(inner, ast.If) and "TYPE_CHECKING" in ast.unparse(inner.test):
            continue
        yield inner
        yield from when_loaded(inner)


# --- what an import loads ------------------------------------------------------------------------


def loaded_by(statement):
    """The modules that a fresh interpreter has loaded after a statement and had not before."""
    code = f"import sys; before = set(sys.modules)\n{statement}\nprint(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return set(done.stdout.split())


HEAVY = {"anyio", "asyncio", "fastapi", "httpx", "httpx2", "pydantic", "starlette", "uvicorn"}


@pytest.mark.parametrize("module", ["sse", "jsonlines", "modes"])
def test_a_codec_loads_no_framework(module):
    loaded = loaded_by(f"import {PACKAGE}.{module}")
    assert f"{PACKAGE}.{module}" in loaded
    assert not loaded & HEAVY, f"importing {module} loads {sorted(loaded & HEAVY)}"


def test_the_package_alone_loads_nothing_but_the_way_to_load_the_rest():
    loaded = {name for name in loaded_by(f"import {PACKAGE}") if in_package(name)}
    assert loaded == {PACKAGE, f"{PACKAGE}.lazy"}


def test_the_dialects_load_no_client_of_a_vendor():
    loaded = loaded_by(f"import {PACKAGE}.llm; from {PACKAGE}.llm import ALL, CompletionFold")
    assert f"{PACKAGE}.llm.dialects.anthropic" in loaded
    assert not loaded & {*HEAVY, "anthropic", "openai"}


def test_a_response_loads_neither_fastapi_nor_pydantic():
    loaded = loaded_by(f"from {PACKAGE} import DualModeResponse, collect, dual_mode")
    assert f"{PACKAGE}.decorator" in loaded
    assert not loaded & {"fastapi", "pydantic", "httpx2"}


# --- exports -------------------------------------------------------------------------------------


def test_the_public_names_are_those_that_resolve():
    names = dual_mode_streaming.__all__
    assert len(names) == len(set(names)), "a name is listed twice"
    assert [name for name in names if getattr(dual_mode_streaming, name, None) is None] == []
    assert set(names) <= set(dir(dual_mode_streaming))


def test_the_names_for_checkers_and_those_at_run_time_have_the_same_homes():
    for_checkers, at_run_time = {}, {}
    for node in tree_of("__init__").body:
        if isinstance(node, ast.If):
            for statement in node.body:
                for alias in statement.names:
                    assert alias.asname in (None, alias.name), f"{alias.name} has another name for checkers"
                    for_checkers[alias.name] = statement.module or alias.name
        elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "_HOMES":
            at_run_time = ast.literal_eval(node.value)
    assert for_checkers == at_run_time
    assert set(dual_mode_streaming.__all__) == set(at_run_time)
    for name, home in at_run_time.items():
        theirs = importlib.import_module(f"{PACKAGE}.{home}")
        if name == home:
            assert getattr(dual_mode_streaming, name) is theirs
            continue
        assert name in theirs.__all__, f"{name} is not public in {home}"
        assert getattr(dual_mode_streaming, name) is getattr(theirs, name)


def test_a_name_that_does_not_exist():
    with pytest.raises(AttributeError, match="module 'dual_mode_streaming' has no attribute 'nothing'"):
        _ = dual_mode_streaming.nothing


@pytest.mark.parametrize(
    ("missing", "extra", "name"),
    [
        ("fastapi", "fastapi", "llm.llm_router"),
        ("httpx2", "client", "testing.check_dual_mode"),
        ("nats", "nats", "stores.NATSStore"),
        ("opentelemetry", "otel", "telemetry.OpenTelemetryMetrics"),
        ("prometheus_client", "prometheus", "telemetry.PrometheusMetrics"),
        ("redis", "redis", "stores.RedisStore"),
    ],
)
def test_a_library_that_is_missing_is_told_with_its_extra(missing, extra, name):
    package, _, public = name.partition(".")
    code = f"import sys; sys.modules[{missing!r}] = None\n"
    code += f"from {PACKAGE}.{package} import {public}\n{public}('redis://localhost')"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=60)
    told = done.stderr.splitlines()[-1].partition(": ")[2]
    assert told.startswith(missing)
    assert told.endswith(f" is missing; it comes with an extra: pip install 'dual-mode-streaming[{extra}]'")
    assert extra in tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


def test_the_names_of_the_front_can_be_imported_with_a_star():
    names = {}
    exec(f"from {PACKAGE} import *", names)
    assert set(dual_mode_streaming.__all__) <= set(names)


def is_program(module):
    return any(isinstance(node, ast.If) and "__main__" in ast.unparse(node.test) for node in tree_of(module).body)


def defines_nothing(module):
    return all(isinstance(node, ast.Expr) for node in tree_of(module).body)


@each_module
def test_a_module_says_what_it_is_for_and_what_of_it_is_public(module):
    assert ast.get_docstring(tree_of(module)), f"{module} has no docstring"
    if is_program(module) or defines_nothing(module):
        return
    loaded = importlib.import_module(PACKAGE if module == "__init__" else f"{PACKAGE}.{module}")
    missing = [name for name in loaded.__all__ if not hasattr(loaded, name)]
    assert not missing, f"{module}.__all__ names what is not there: {missing}"


def test_the_examples_are_programs():
    examples = [module for module in PATHS if module.startswith("examples.example_")]
    assert len(examples) >= 2
    assert all(map(is_program, examples))


@each_module
def test_every_public_class_and_function_has_a_docstring(module):
    tree = tree_of(module)
    public = {name for node in tree.body if is_all(node) for name in ast.literal_eval(node.value)}
    defined = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))]
    documented = {node.name for node in defined if ast.get_docstring(node)}
    silent = {node.name for node in defined if node.name in public} - documented
    assert not silent, f"{module} does not say what these are for: {sorted(silent)}"


def is_all(node):
    return isinstance(node, ast.Assign) and any(getattr(name, "id", None) == "__all__" for name in node.targets)


def test_every_name_of_the_front_is_described():
    """Classes and functions by their docstrings; a fold that is an instance by the one of its class or its own."""
    for name in dual_mode_streaming.__all__:
        value = getattr(dual_mode_streaming, name)
        if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
            assert inspect.getdoc(value), f"{name} has no docstring"


# --- what no file may hold -----------------------------------------------------------------------


@cache
def files():
    """What is in git or about to be: git's list, and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    names = sorted({name.decode() for name in listed.stdout.split(b"\0") if name})
    return [name for name in names if (ROOT / name).is_file()]


@cache
def text_of(name):
    return (ROOT / name).read_text("utf-8", "replace")


def lines_with(pattern, name):
    return [
        f"{name}:{number}: {line.strip()[:100]}"
        for number, line in enumerate(text_of(name).splitlines(), start=1)
        if re.search(pattern, line, re.IGNORECASE)
    ]


# Written in pieces, so that this file does not hold what it forbids.
HOSTS = [
    r"\bpypi\." + "org",
    "python" + "hosted",
    "test" + r"\.pypi",
    r"\b(?:artifactory|devpi|nexus|cloudsmith)[\w.-]*[:/]",
    r"://[^\s\"'<>]*/" + r"\+?simple\b",
]
SETTINGS = [
    "(?<!no-emit-)index" + "-url",
    "(?:PIP|UV)_(?:EXTRA_|DEFAULT_)?" + "INDEX",
    r"\[tool\.uv\." + r"index",
    "trusted" + "-host",
]
MACHINE_PATHS = [
    r"(?<![\w.])/" + "work/",
    r"(?<![\w.])/" + "root/",
    r"(?<![\w.])/" + r"home/\w",
    r"(?<![\w.])/" + r"Users/\w",
    r"\b[A-Z]:\\" + r"+Users",
    "/tmp/" + r"\w+\.\w*\d{3,}",
]


@pytest.mark.parametrize(
    ("what", "patterns"),
    [("a package index", HOSTS), ("the setting of an index", SETTINGS), ("a path of one machine", MACHINE_PATHS)],
    ids=["hosts", "settings", "paths"],
)
def test_no_file_names_a_machine(what, patterns):
    found = [line for name in files() for pattern in patterns for line in lines_with(pattern, name)]
    assert not found, f"{what} is named in\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "patterns"),
    [
        ("https://pypi" + ".org/x", HOSTS),
        ("https://files.python" + "hosted.org/a.whl", HOSTS),
        ("http://10.0.0.1:80/root/pypi/+" + "simple/", HOSTS),
        ("--index" + "-url http://x", SETTINGS),
        ("--extra-index" + "-url=x", SETTINGS),
        ("UV_" + "INDEX=x", SETTINGS),
        ("[[tool.uv." + "index]]", SETTINGS),
        ("see /" + "work/main", MACHINE_PATHS),
        ("'/" + "root/.cache'", MACHINE_PATHS),
        ("/" + "home/ada/x", MACHINE_PATHS),
    ],
)
def test_the_guard_knows_what_it_looks_for(text, patterns):
    assert any(re.search(pattern, text, re.IGNORECASE) for pattern in patterns)


def test_there_is_no_lock_file():
    """It would record the host from which the packages came."""
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split(
        "\n"
    )
    assert [name for name in tracked if Path(name).name == "uv" + ".lock"] == []


def test_no_file_is_large():
    large = [f"{name} has {size} bytes" for name in files() if (size := (ROOT / name).stat().st_size) > 2**20]
    assert not large, large


@each_module
def test_no_module_is_long(module):
    count = len(PATHS[module].read_text("utf-8").splitlines())
    assert count <= 400, f"{module} has {count} lines; past 400 it is to be split"


@each_module
def test_no_module_is_unfinished(module):
    """Abstract methods are marked by `abc.abstractmethod`, so nothing needs to raise that it is missing."""
    unfinished = re.findall(r"\b(?:TODO|FIXME|XXX)\b.*", PATHS[module].read_text("utf-8"))
    missing = [
        f"line {node.lineno}" for node in ast.walk(tree_of(module)) if isinstance(node, ast.Raise) and is_missing(node)
    ]
    assert not unfinished, f"{module}: {unfinished}"
    assert not missing, f"{module} raises NotImplementedError in {missing}"


def is_missing(node):
    error = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(error, ast.Name) and error.id == "NotImplementedError"


# --- pins, and what runs the checks --------------------------------------------------------------

PINS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[a-z0-9,_-]+\])?==([0-9][A-Za-z0-9.!+_-]*)(?: ; [^/@#]+)?")


def pins_in(path):
    return [line for line in path.read_text("utf-8").splitlines() if line]


@pytest.mark.parametrize("path", PINS, ids=lambda path: path.name)
def test_a_requirements_file_holds_exact_pins_only(path):
    wrong = [line for line in pins_in(path) if PIN.fullmatch(line) is None]
    assert pins_in(path), "there is no pin in it"
    assert not wrong, f"not of the form name==version: {wrong}"


def test_what_runs_is_what_was_tested():
    assert {path.name for path in PINS} >= {"build.txt", "dev.txt", "run.txt"}
    run, dev = (versions_in(ROOT / "requirements" / name) for name in ("run.txt", "dev.txt"))
    other = {name: (version, dev.get(name)) for name, version in run.items() if dev.get(name) != version}
    assert not other, f"run.txt and dev.txt pin different versions: {other}"


def versions_in(path):
    return dict(PIN.match(line).groups() for line in pins_in(path))


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    named = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["cli"]]
    named += [one for group in project["dependency-groups"].values() for one in group if isinstance(one, str)]
    pinned = {normal(PIN.match(line)[1]) for line in pins_in(ROOT / "requirements" / "dev.txt")}
    names = {normal(re.match(r"[A-Za-z0-9._-]+", one)[0]) for one in named}
    assert names - pinned == {normal(PACKAGE)}, "what pyproject.toml names and requirements/dev.txt pins differ"


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_ci_runs():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK), ".ci/run is not executable"
    text = script.read_text("utf-8")
    assert "set -euo pipefail" in text
    assert re.search(r"^make lint types test$", text, re.MULTILINE)
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
