"""Instructor: answers as objects of a class, by a call of a tool or by a JSON schema."""

from typing import Annotated

import instructor
import openai
from facts import KEY, MODEL, URL, report
from pydantic import BaseModel, Field


class Forecast(BaseModel):
    """The weather."""

    city: str
    days: Annotated[int, Field(ge=1, le=7)]


def functions(mode):
    client = instructor.from_openai(openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0), mode=mode)

    def asked(prompt):
        # The answer is to be an object, also where it ends too soon.
        return {
            "model": MODEL,
            "messages": [{"role": "user", "content": f"{prompt}, as an object"}],
            "response_model": Forecast,
            "max_retries": 0,
        }

    def batch(prompt, tools, heard):
        if prompt == "say":
            return None
        answer, completion = client.create_with_completion(**asked(prompt))
        usage = completion.usage
        return {
            "usage": [usage.prompt_tokens, usage.completion_tokens],
            "calls": [{"tool": "forecast", "arguments": answer.model_dump()}],
        }

    def stream(prompt, tools, heard):
        if prompt == "say":
            return None
        snapshots = []
        for snapshot in client.create_partial(**asked(prompt)):
            assert snapshot.city is None or snapshot.city.startswith(heard[0] if heard else "")
            heard[:] = [snapshot.city or ""]
            snapshots.append(snapshot)
        assert len(snapshots) > 3
        return {"usage": None, "calls": [{"tool": "forecast", "arguments": snapshots[-1].model_dump()}]}

    return {"batch": batch, "stream": stream}


if __name__ == "__main__":
    report(
        "instructor",
        {
            "instructor, tools": functions(instructor.Mode.TOOLS),
            "instructor, JSON schema": functions(instructor.Mode.JSON_SCHEMA),
        },
    )
