"""Agents of OpenAI's own kit, over Chat Completions and over Responses. They call their tools themselves."""

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from facts import KEY, MODEL, URL, report
from openai import AsyncOpenAI

set_tracing_disabled(True)


def agent(model, tools):
    """Make an agent. What its tool returns is the next prompt that the server knows."""
    calls = []

    @function_tool
    def forecast(city: str, days: int) -> str:
        """Tells the weather."""
        calls.append({"tool": "forecast", "arguments": {"city": city, "days": days}})
        return "say"

    settings = ModelSettings(include_usage=True)
    return Agent("weather", model=model, tools=[forecast] if tools else [], model_settings=settings), calls


def told(result, calls):
    usage = result.context_wrapper.usage
    return {"usage": [usage.input_tokens, usage.output_tokens], "calls": calls}


def functions(kind):
    model = kind(MODEL, openai_client=AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0))

    async def batch(prompt, tools, heard):
        one, calls = agent(model, tools)
        result = await Runner.run(one, prompt)
        heard.append(result.final_output)
        return told(result, calls)

    async def stream(prompt, tools, heard):
        one, calls = agent(model, tools)
        result = Runner.run_streamed(one, prompt)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                heard.append(event.data.delta)
        return told(result, calls)

    return {"batch": batch, "stream": stream}


if __name__ == "__main__":
    report(
        "openai-agents",
        {
            "openai-agents, Chat": functions(OpenAIChatCompletionsModel),
            "openai-agents, Responses": functions(OpenAIResponsesModel),
        },
    )
