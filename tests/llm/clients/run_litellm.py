"""LiteLLM, as a client of three vendors."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would ask a server for prices

import litellm
from facts import DESCRIPTION, KEY, MODEL, SCHEMA, TOOL, URL, called, report

os.environ["OLLAMA_API_BASE"] = URL  # it would ask a server at the usual port of Ollama what the model can do
litellm.suppress_debug_info = True
litellm.telemetry = False
FUNCTION = {"type": "function", "function": {"name": TOOL, "description": DESCRIPTION, "parameters": SCHEMA}}


def functions(vendor, base):
    def ask(prompt, tools, **options):
        return litellm.completion(
            model=f"{vendor}/{MODEL}",
            api_base=base,
            api_key=KEY,
            max_retries=0,
            messages=[{"role": "user", "content": prompt}],
            **({"tools": [FUNCTION]} if tools else {}),
            **options,
        )

    def batch(prompt, tools, heard):
        return complete(ask(prompt, tools), heard)

    def stream(prompt, tools, heard):
        chunks = []
        for chunk in ask(prompt, tools, stream=True, stream_options={"include_usage": True}):
            heard += [choice.delta.content or "" for choice in chunk.choices]
            chunks.append(chunk)
        return complete(litellm.stream_chunk_builder(chunks), heard)

    return {"batch": batch, "stream": stream}


def complete(answer, heard):
    (choice,) = answer.choices
    if not heard:
        heard.append(choice.message.content or "")
    return {
        "finish": choice.finish_reason,
        "usage": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "calls": [called(call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()],
    }


def two_answers():
    """Stream two answers at once, and fold them as LiteLLM does."""
    asked = {"messages": [{"role": "user", "content": "say"}], "n": 2, "stream": True}
    answers = litellm.completion(model=f"openai/{MODEL}", api_base=f"{URL}/v1", api_key=KEY, max_retries=0, **asked)
    return {"texts": [choice.message.content for choice in litellm.stream_chunk_builder(list(answers)).choices]}


if __name__ == "__main__":
    report(
        "litellm",
        {
            "litellm, openai": functions("openai", f"{URL}/v1"),
            "litellm, anthropic": functions("anthropic", URL),
            "litellm, ollama_chat": functions("ollama_chat", URL),
        },
        more={"two answers": two_answers},
    )
