# expect: TODO 5: the last one is never lost
"""When it is closed, what nobody has taken yet is dropped."""


class Newest:
    async def __anext__(self):
        while not self._closed:
            if self._held:
                return self._held.pop()
            self._changed.clear()
            await self._changed.wait()
        raise StopAsyncIteration
