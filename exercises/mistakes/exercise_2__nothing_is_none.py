# expect: TODO 5: None and 0 are items too
"""Whether there is an item is seen at its value."""


class Newest:
    def __init__(self):
        self._item = None
        self._closed = False
        self._changed = asyncio.Event()

    def put(self, item):
        self._item = item
        self._changed.set()

    async def __anext__(self):
        while self._item is None:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        item, self._item = self._item, None
        return item
