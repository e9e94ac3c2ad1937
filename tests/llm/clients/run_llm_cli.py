"""The command `llm`, with this server in its file of models. It runs in this process, and sees no terminal."""

import json
import os
import tempfile
from pathlib import Path

from facts import MODEL, URL, report

HOME = Path(tempfile.mkdtemp())
os.environ["LLM_USER_PATH"] = str(HOME)
(HOME / "extra-openai-models.yaml").write_text(
    f"- model_id: {MODEL}\n"
    f"  model_name: {MODEL}\n"
    f"  api_base: {URL}/v1\n"
    f"  supports_tools: true\n"
    f"  supports_schema: true\n"
)
FUNCTION = '''
def forecast(city: str, days: int) -> str:
    """Tells the weather."""
    print(city, days)
    return "say"
'''

from click.testing import CliRunner
from llm.cli import cli


def functions(*options):
    def run(prompt, tools, heard):
        more = ["--functions", FUNCTION] if tools else []
        done = CliRunner().invoke(cli, ["-m", MODEL, "--usage", prompt, *options, *more])
        return {"exit": done.exit_code, "out": done.stdout, "err": done.stderr}

    return run


if __name__ == "__main__":
    report("llm", {"llm": {"batch": functions("--no-stream"), "stream": functions()}})
