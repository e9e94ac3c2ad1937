"""The command `llm`, with this server in its file of models. It runs in this process, and sees no terminal."""

import os
import re
import tempfile
from pathlib import Path

from click.testing import CliRunner
from facts import MODEL, URL, report

MODELS = f"""
- model_id: {MODEL}
  model_name: {MODEL}
  api_base: {URL}/v1
  supports_tools: true
"""
# What the tool returns is the next prompt that the server knows.
FORECAST = """
def forecast(city: str, days: int) -> str:
    'Tells the weather.'
    print(city, days, sep=';')
    return 'say'
"""


def functions(*options):
    from llm.cli import cli  # it looks for its folder when it is loaded

    def run(prompt, tools, heard):
        # It has no option against trying again, so some seconds are for that.
        more = ["--functions", FORECAST] if tools else []
        done = CliRunner().invoke(cli, ["-m", MODEL, "--usage", "--no-log", prompt, *options, *more])
        *calls, text = done.stdout.removesuffix("\n").split("\n")
        if done.exit_code:
            return {"text": text, "error": "exit code", "status": done.exit_code, "message": done.stderr}
        numbers = re.findall(r"(\d+) input, (\d+) output", done.stderr)
        return {
            "text": text,
            "usage": [sum(int(pair[side]) for pair in numbers) for side in (0, 1)],
            "calls": [
                {"tool": "forecast", "arguments": {"city": city, "days": int(days)}}
                for city, days in (call.split(";") for call in calls)
            ],
        }

    return run


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "extra-openai-models.yaml").write_text(MODELS)
        os.environ["LLM_USER_PATH"] = folder
        report("llm", {"llm": {"batch": functions("--no-stream"), "stream": functions()}})
