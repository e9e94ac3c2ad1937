"""The client of OpenAI: Chat Completions in three ways, and Responses with its work in the background."""

import openai
from facts import DESCRIPTION, KEY, MODEL, SCHEMA, TOOL, URL, called, named, report

OPTIONS = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0}
CLIENT = openai.OpenAI(**OPTIONS)
ASYNC = openai.AsyncOpenAI(**OPTIONS)
FUNCTION = {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}}
FLAT = {"type": "function", "name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA, "strict": False}


# --- Chat Completions ----------------------------------------------------------------------------


def chat(prompt, tools):
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        **({"tools": [FUNCTION]} if tools else {}),
    }


def complete(completion, heard):
    (choice,) = completion.choices
    if not heard:
        heard.append(choice.message.content or "")
    calls = [called(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()]
    return {
        "finish": choice.finish_reason,
        "usage": [completion.usage.prompt_tokens, completion.usage.completion_tokens],
        "calls": calls,
    }


def batch(prompt, tools, heard):
    return complete(CLIENT.chat.completions.create(**chat(prompt, tools)), heard)


async def batch_async(prompt, tools, heard):
    return complete(await ASYNC.chat.completions.create(**chat(prompt, tools)), heard)


class Chunks:
    """What the chunks of a stream say together."""

    def __init__(self, heard):
        self.heard = heard
        self.calls = []
        self.finish = self.usage = None

    def take(self, chunk):
        for choice in chunk.choices:
            self.heard.append(choice.delta.content or "")
            self.finish = choice.finish_reason or self.finish
            for call in choice.delta.tool_calls or ():
                if call.id:
                    self.calls.append([call.function.name, ""])
                self.calls[-1][1] += call.function.arguments or ""
        if chunk.usage:
            self.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens]

    def told(self):
        return {"finish": self.finish, "usage": self.usage, "calls": [called(*call) for call in self.calls]}


STREAMED = {"stream": True, "stream_options": {"include_usage": True}}


def stream(prompt, tools, heard):
    chunks = Chunks(heard)
    for chunk in CLIENT.chat.completions.create(**chat(prompt, tools), **STREAMED):
        chunks.take(chunk)
    return chunks.told()


async def stream_async(prompt, tools, heard):
    chunks = Chunks(heard)
    async for chunk in await ASYNC.chat.completions.create(**chat(prompt, tools), **STREAMED):
        chunks.take(chunk)
    return chunks.told()


def stream_helper(prompt, tools, heard):
    options = {"stream_options": {"include_usage": True}}
    with CLIENT.chat.completions.stream(**chat(prompt, tools), **options) as stream:
        for event in stream:
            if event.type == "content.delta":
                heard.append(event.delta)
        return complete(stream.get_final_completion(), heard)


# --- Responses -----------------------------------------------------------------------------------


def ask(prompt, tools):
    return {"model": MODEL, "input": prompt, **({"tools": [FLAT]} if tools else {})}


def response_of(response, heard):
    if not heard:
        heard.append(response.output_text)
    calls = [called(item.name, item.arguments) for item in response.output if item.type == "function_call"]
    return {
        "finish": response.status,
        "usage": [response.usage.input_tokens, response.usage.output_tokens],
        "calls": calls,
    }


def responses(prompt, tools, heard):
    return response_of(CLIENT.responses.create(**ask(prompt, tools)), heard)


def responses_stream(prompt, tools, heard):
    told = None
    for event in CLIENT.responses.create(**ask(prompt, tools), stream=True):
        if event.type == "response.output_text.delta":
            heard.append(event.delta)
        elif event.type == "response.completed":
            told = response_of(event.response, heard)
    if told is None:
        raise EOFError("the stream ended without response.completed, and the client said nothing")
    return told


def responses_helper(prompt, tools, heard):
    with CLIENT.responses.stream(**ask(prompt, tools)) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                heard.append(event.delta)
        return response_of(stream.get_final_response(), heard)


def resumed(prompt, tools, heard):
    """Leave a stream of work in the background after its first piece, and take it up again there."""
    last = None
    with CLIENT.responses.create(**ask(prompt, tools), background=True, stream=True) as stream:
        for event in stream:
            last = event
            if event.type == "response.created":
                identity = event.response.id
            if event.type in ("response.output_text.delta", "response.function_call_arguments.delta"):
                heard.append(event.delta if "text" in event.type else "")
                break
    told = None
    for event in CLIENT.responses.retrieve(identity, stream=True, starting_after=last.sequence_number):
        if event.type == "response.output_text.delta":
            heard.append(event.delta)
        elif event.type == "response.completed":
            told = response_of(event.response, heard)
    return told


def polled(prompt, tools, heard):
    """Start work in the background, follow it to its end, and ask for the whole."""
    begun = CLIENT.responses.create(**ask(prompt, tools), background=True)
    for _ in CLIENT.responses.retrieve(begun.id, stream=True):
        pass
    return response_of(CLIENT.responses.retrieve(begun.id), heard)


def cancelled():
    """Cancel work that would never end, after its first piece."""
    with CLIENT.responses.create(**ask("endless", False), background=True, stream=True) as stream:
        for event in stream:
            if event.type == "response.created":
                identity = event.response.id
            if event.type == "response.output_text.delta":
                break
    done = CLIENT.responses.cancel(identity)
    return {"finish": done.status, "text": done.output_text}


def too_long():
    """Let the helper fold a text that the bound on its length has cut."""
    with CLIENT.chat.completions.stream(**chat("say", False), max_tokens=2) as stream:
        try:
            return {"finish": stream.get_final_completion().choices[0].finish_reason}
        except openai.LengthFinishReasonError as error:
            return {"error": named(error), "text": error.completion.choices[0].message.content}


if __name__ == "__main__":
    report(
        "openai",
        {
            "openai, Chat": {"batch": batch, "stream": stream},
            "openai, Chat, async": {"batch": batch_async, "stream": stream_async},
            "openai, Chat, `.stream()`": {"stream": stream_helper},
            "openai, Responses": {"batch": responses, "stream": responses_stream},
            "openai, Responses, `.stream()`": {"stream": responses_helper},
            "openai, Responses, background": {"batch": polled, "stream": resumed},
        },
        more={"cancelled": cancelled, "too long": too_long},
    )
