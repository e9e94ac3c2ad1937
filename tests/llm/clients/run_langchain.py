"""LangChain's chat models, over the clients of OpenAI and of Anthropic."""

import sys

from facts import DESCRIPTION, KEY, MODEL, SCHEMA, TOOL, URL, called, report

if sys.argv[2] == "openai":
    from langchain_openai import ChatOpenAI

    OPTIONS = {"base_url": f"{URL}/v1", "api_key": KEY, "max_retries": 0, "model": MODEL, "stream_usage": True}
    MODELS = {
        "langchain-openai, Chat": ChatOpenAI(**OPTIONS),
        "langchain-openai, Responses": ChatOpenAI(**OPTIONS, use_responses_api=True),
    }
else:
    from langchain_anthropic import ChatAnthropic

    MODELS = {"langchain-anthropic": ChatAnthropic(base_url=URL, api_key=KEY, max_retries=0, model=MODEL)}

FINISH = ("finish_reason", "stop_reason", "status")  # in Chat, in Messages, in Responses
FUNCTION = {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}


def complete(message, heard):
    if not heard:
        heard.append(message.text)
    usage = message.usage_metadata
    return {
        "finish": next(
            (message.response_metadata.get(name) for name in FINISH if name in message.response_metadata), None
        ),
        "usage": usage and [usage["input_tokens"], usage["output_tokens"]],
        "calls": [called(call["name"], call["args"]) for call in message.tool_calls],
    }


def functions(model):
    with_tools = model.bind_tools([FUNCTION])

    def batch(prompt, tools, heard):
        return complete((with_tools if tools else model).invoke(prompt), heard)

    def stream(prompt, tools, heard):
        whole = None
        for chunk in (with_tools if tools else model).stream(prompt):
            heard.append(chunk.text)
            whole = chunk if whole is None else whole + chunk
        return complete(whole, heard)

    async def stream_async(prompt, tools, heard):
        whole = None
        async for chunk in (with_tools if tools else model).astream(prompt):
            heard.append(chunk.text)
            whole = chunk if whole is None else whole + chunk
        return complete(whole, heard)

    async def batch_async(prompt, tools, heard):
        return complete(await (with_tools if tools else model).ainvoke(prompt), heard)

    return {"batch": batch, "stream": stream}, {"batch": batch_async, "stream": stream_async}


def two_answers():
    """Stream two answers at once, and fold them as LangChain does."""
    whole = None
    for chunk in ChatOpenAI(**OPTIONS, n=2).stream("say"):
        whole = chunk if whole is None else whole + chunk
    return {"text": whole.text}


if __name__ == "__main__":
    ROWS = {}
    for name, model in MODELS.items():
        ROWS[name], ROWS[f"{name}, async"] = functions(model)
    report(f"langchain-{sys.argv[2]}", ROWS, more={"two answers": two_answers} if sys.argv[2] == "openai" else None)
