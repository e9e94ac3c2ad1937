"""Agents of Pydantic AI, over the clients of OpenAI and of Anthropic. They call their tools themselves."""

from anthropic import AsyncAnthropic
from facts import KEY, MODEL, URL, report
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider


def of_openai(kind):
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
    return kind(MODEL, provider=OpenAIProvider(openai_client=client))


def of_anthropic():
    client = AsyncAnthropic(base_url=URL, api_key=KEY, max_retries=0)
    return AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client))


def agent(model, tools):
    """Make an agent. What its tool returns is the next prompt that the server knows."""
    calls = []

    def forecast(city: str, days: int) -> str:
        """Tells the weather."""
        calls.append({"tool": "forecast", "arguments": {"city": city, "days": days}})
        return "say"

    return Agent(model, tools=[forecast] if tools else [], retries=0), calls


def told(result, calls):
    return {"usage": [result.usage.input_tokens, result.usage.output_tokens], "calls": calls}


def functions(model):
    async def batch(prompt, tools, heard):
        one, calls = agent(model, tools)
        result = await one.run(prompt)
        heard.append(result.output)
        return told(result, calls)

    async def stream(prompt, tools, heard):
        one, calls = agent(model, tools)
        async with one.run_stream(prompt) as result:
            async for piece in result.stream_text(delta=True, debounce_by=None):
                heard.append(piece)
            return told(result, calls)

    return {"batch": batch, "stream": stream}


if __name__ == "__main__":
    report(
        "pydantic-ai-slim",
        {
            "pydantic-ai, OpenAI Chat": functions(of_openai(OpenAIChatModel)),
            "pydantic-ai, OpenAI Responses": functions(of_openai(OpenAIResponsesModel)),
            "pydantic-ai, Anthropic": functions(of_anthropic()),
        },
    )
