# expect: TODO 5: has to be woken by `close`, too
"""A reader that waits does not notice that it is over."""


class Newest:
    def close(self):
        self._closed = True
