"""The client of Anthropic: its messages, and the helper that folds a stream."""

import anthropic
from facts import DESCRIPTION, KEY, MODEL, SCHEMA, TOOL, URL, called, report

OPTIONS = {"base_url": URL, "api_key": KEY, "max_retries": 0}
CLIENT = anthropic.Anthropic(**OPTIONS)
ASYNC = anthropic.AsyncAnthropic(**OPTIONS)


def asked(prompt, tools):
    tool = {"name": TOOL, "description": DESCRIPTION, "input_schema": SCHEMA}
    messages = [{"role": "user", "content": prompt}]
    return {"model": MODEL, "max_tokens": 100, "messages": messages, **({"tools": [tool]} if tools else {})}


def complete(message, heard):
    if not heard:
        heard += [block.text for block in message.content if block.type == "text"]
    return {
        "finish": message.stop_reason,
        "usage": [message.usage.input_tokens, message.usage.output_tokens],
        "calls": [called(block.name, block.input) for block in message.content if block.type == "tool_use"],
    }


def batch(prompt, tools, heard):
    return complete(CLIENT.messages.create(**asked(prompt, tools)), heard)


async def batch_async(prompt, tools, heard):
    return complete(await ASYNC.messages.create(**asked(prompt, tools)), heard)


class Events:
    """What the events of a stream say together."""

    def __init__(self, heard):
        self.heard = heard
        self.calls = []
        self.finish = None
        self.usage = [None, None]

    def take(self, event):
        if event.type == "message_start":
            self.usage[0] = event.message.usage.input_tokens
        elif event.type == "content_block_start" and event.content_block.type == "tool_use":
            self.calls.append([event.content_block.name, ""])
        elif event.type == "content_block_delta" and event.delta.type == "text_delta":
            self.heard.append(event.delta.text)
        elif event.type == "content_block_delta" and event.delta.type == "input_json_delta":
            self.calls[-1][1] += event.delta.partial_json
        elif event.type == "message_delta":
            self.finish = event.delta.stop_reason
            self.usage = [event.usage.input_tokens or self.usage[0], event.usage.output_tokens]

    def told(self):
        return {"finish": self.finish, "usage": self.usage, "calls": [called(*call) for call in self.calls]}


def stream(prompt, tools, heard):
    events = Events(heard)
    for event in CLIENT.messages.create(**asked(prompt, tools), stream=True):
        events.take(event)
    return events.told()


async def stream_async(prompt, tools, heard):
    events = Events(heard)
    async for event in await ASYNC.messages.create(**asked(prompt, tools), stream=True):
        events.take(event)
    return events.told()


def stream_helper(prompt, tools, heard):
    with CLIENT.messages.stream(**asked(prompt, tools)) as stream:
        for event in stream:
            if event.type == "text":
                heard.append(event.text)
        return complete(stream.get_final_message(), heard)


if __name__ == "__main__":
    report(
        "anthropic",
        {
            "anthropic": {"batch": batch, "stream": stream},
            "anthropic, async": {"batch": batch_async, "stream": stream_async},
            "anthropic, `.stream()`": {"stream": stream_helper},
        },
    )
