"""What the scripts of this folder share. Each runs one client against the server at the address it is given.

A script asks each thing in both modes, and prints what its client reported as one JSON document, after a line that
says that its client is loaded. It judges nothing: that is for the test. The prompts are what the server knows: see
`test_python_clients.py`.
"""

import asyncio
import json
import sys
from importlib.metadata import version

URL = sys.argv[1]
MODEL = "simulator"
KEY = "none"

PROMPTS = ("say", "tools", "refused", "limited", "breaks", "cut")
TOOL = "forecast"
DESCRIPTION = "Tells the weather."
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


def report(package, rows, more=None):
    """Run all cases of each row and print the facts.

    Args:
        package: What is tested.
        rows: For each interface of the client its functions, by mode. They are given a prompt, whether to offer the
            tool, and a list to put pieces of text into as they come. They return what the client says at the end: its
            reason to `finish`, the `usage` in and out, and the `calls`. None: the client has no such thing.
        more: What else is to be called, without arguments.
    """
    print("loaded", flush=True)  # the client, whose module was imported before: from here on it is to be quick
    facts = {}
    # One loop for all calls: clients keep their connections, and those belong to a loop.
    with asyncio.Runner() as runner:
        for row, functions in rows.items():
            facts[row] = {}
            for prompt in PROMPTS:
                facts[row][prompt] = {
                    mode: outcome(runner, function, prompt, prompt == "tools") for mode, function in functions.items()
                }
    others = {name: function() for name, function in (more or {}).items()}
    print(json.dumps({"version": f"{package} {version(package)}", "rows": facts, "more": others}))


def outcome(runner, function, prompt, tools):
    """Call a function, and give what it returned or how it failed; None if the client has no such thing."""
    heard = []
    try:
        told = function(prompt, tools, heard)
        if asyncio.iscoroutine(told):
            told = runner.run(told)
    except Exception as error:
        return {"text": "".join(heard), "error": named(error), "status": status_of(error), "message": str(error)}
    return None if told is None else {"text": "".join(heard), **told}


def named(error):
    """Give the class of an error, and its module's first part if that is another package than usual."""
    return f"{type(error).__module__.partition('.')[0]}.{type(error).__name__}"


def status_of(error):
    """Give the HTTP status that an error tells its user."""
    return getattr(error, "status_code", None)


def called(name, arguments):
    """Give a call of the tool, its arguments read if they are text."""
    return {"tool": name, "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments}
