"""`negotiate` reads it as RFC 9110 says. `@dual_mode` does it for you; this is for code that branches by hand."""

from fastapi import FastAPI, Request

from dual_mode_streaming import negotiate

app = FastAPI()
OFFERS = ["application/json", "text/event-stream"]


@app.get("/mode")
async def mode(request: Request) -> str:
    chosen = negotiate(request.headers.getlist("accept"), OFFERS)
    return "stream" if chosen == "text/event-stream" else "batch"
