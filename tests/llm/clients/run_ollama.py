"""The client of Ollama: its chat, sync and async, and its text completion."""

import ollama
from facts import DESCRIPTION, MODEL, SCHEMA, TOOL, URL, called, report

CLIENT = ollama.Client(host=URL)
ASYNC = ollama.AsyncClient(host=URL)


def asked(prompt, tools):
    tool = {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}}
    messages = [{"role": "user", "content": prompt}]
    return {"model": MODEL, "messages": messages, **({"tools": [tool]} if tools else {})}


class Parts:
    """What the parts of an answer say together. A batch is one part."""

    def __init__(self, heard):
        self.heard = heard
        self.calls = []
        self.last = None

    def take(self, part):
        self.heard.append(part.message.content or "")
        self.calls += [
            called(call.function.name, dict(call.function.arguments)) for call in part.message.tool_calls or ()
        ]
        self.last = part
        return self

    def told(self):
        return end(self.last, self.calls)


def end(last, calls):
    if not last.done:
        raise EOFError("the stream ended without `done`, and the client said nothing")
    return {"finish": last.done_reason, "usage": [last.prompt_eval_count, last.eval_count], "calls": calls}


def batch(prompt, tools, heard):
    return Parts(heard).take(CLIENT.chat(**asked(prompt, tools))).told()


def stream(prompt, tools, heard):
    parts = Parts(heard)
    for part in CLIENT.chat(**asked(prompt, tools), stream=True):
        parts.take(part)
    return parts.told()


async def batch_async(prompt, tools, heard):
    return Parts(heard).take(await ASYNC.chat(**asked(prompt, tools))).told()


async def stream_async(prompt, tools, heard):
    parts = Parts(heard)
    async for part in await ASYNC.chat(**asked(prompt, tools), stream=True):
        parts.take(part)
    return parts.told()


def generated(prompt, tools, heard):
    if tools:
        return None
    answer = CLIENT.generate(MODEL, prompt)
    heard.append(answer.response)
    return end(answer, [])


def generated_stream(prompt, tools, heard):
    if tools:
        return None
    last = None
    for last in CLIENT.generate(MODEL, prompt, stream=True):
        heard.append(last.response)
    return end(last, [])


if __name__ == "__main__":
    report(
        "ollama",
        {
            "ollama": {"batch": batch, "stream": stream},
            "ollama, async": {"batch": batch_async, "stream": stream_async},
            "ollama, `.generate()`": {"batch": generated, "stream": generated_stream},
        },
    )
