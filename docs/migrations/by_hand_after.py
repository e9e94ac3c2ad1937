"""Words of an answer. What was written by hand is gone; the names of the fields are the same."""

from collections.abc import AsyncIterator, Sequence

from fastapi import FastAPI

from dual_mode_streaming import dual_mode

app = FastAPI()


def joined(words: Sequence[dict[str, str]]) -> dict[str, str]:
    return {"answer": " ".join(word["text"] for word in words)}


@app.get("/answer")
@dual_mode(fold=joined)
async def answer(question: str) -> AsyncIterator[dict[str, str]]:
    for word in f"You asked: {question}".split():
        yield {"text": word}
