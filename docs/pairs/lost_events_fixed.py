"""A channel numbers its events and remembers some. Who comes back with Last-Event-ID gets those in between."""

from fastapi import FastAPI

from dual_mode_streaming import Channel, dual_mode

app = FastAPI()
channel = Channel(history=100)
publish = channel.publish


@app.get("/goals")
@dual_mode(heartbeat=0.01)
async def goals() -> Channel:
    return channel


async def close() -> None:
    channel.close()
