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
        return {
            "model": MODEL,
            "messages": [{"role": "user", "content": prompt}],
            "response_model": Forecast,
            "max_retries": 0,
        }

    def batch(prompt, tools, heard):
        answer, completion = client.create_with_completion(**asked(prompt))
        usage = completion.usage
        return {
            "usage": [usage.prompt_tokens, usage.completion_tokens],
            "calls": [{"tool": "forecast", "arguments": answer.model_dump()}],
        }

    def stream(prompt, tools, heard):
        snapshots = [snapshot.model_dump() for snapshot in client.create_partial(**asked(prompt))]
        growing = all(
            before["city"] is None or after["city"].startswith(before["city"])
            for before, after in zip(snapshots, snapshots[1:])
        )
        return {
            "usage": None,
            "calls": [{"tool": "forecast", "arguments": snapshots[-1]}],
            "snapshots": len(snapshots),
            "growing": growing,
        }

    return {"batch": batch, "stream": stream}


if __name__ == "__main__":
    report(
        "instructor",
        {
            "instructor, tools": functions(instructor.Mode.TOOLS),
            "instructor, JSON schema": functions(instructor.Mode.JSON_SCHEMA),
        },
    )
