"""API keys, where clients of language models send them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from hashlib import sha256
from hmac import compare_digest

from fastapi import Request

from dual_mode_streaming.errors import InvalidKey

__all__ = ["api_key", "key_of", "owner_by_key"]


def key_of(request: Request) -> str | None:
    """Give the key of a request: of `Authorization: Bearer` (OpenAI, Ollama) or `x-api-key` (Anthropic); else None."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and given.strip():
        return given.strip()
    return request.headers.get("x-api-key") or None


def owner_by_key(request: Request) -> str | None:
    """Say to whom a request belongs: to whoever has its API key. None if it has none.

    What is given is not the key, but a digest: it is written down with what belongs to the owner.
    """
    key = key_of(request)
    return None if key is None else f"key-{sha256(key.encode()).hexdigest()}"


def api_key(
    accepted: Collection[str] | Callable[[str], bool | Awaitable[bool]],
) -> Callable[[Request], Awaitable[str]]:
    """Make a dependency that lets nobody in without a key: `dependencies=[Depends(api_key({"secret"}))]`.

    Args:
        accepted: The keys, or a function that says whether a key is one. It may be async.

    Raises:
        TypeError: A single string was given; that would be a collection of letters.
    """
    if isinstance(accepted, str):
        raise TypeError("api_key takes a collection of keys; put the one key into a set")

    async def check(request: Request) -> str:
        key = key_of(request)
        if key is None or not await _is_accepted(key):
            raise InvalidKey
        return key

    async def _is_accepted(key: str) -> bool:
        if callable(accepted):
            given = accepted(key)
            return bool(await given if inspect.isawaitable(given) else given)
        # Each is compared in full, so that the time says nothing about how much of a key was right.
        same = [compare_digest(key.encode(), each.encode()) for each in accepted]
        return any(same)

    return check
