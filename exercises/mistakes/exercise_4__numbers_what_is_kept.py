# expect: TODO 2: not those that are kept
"""Once the history is full, all events have the same number."""


class History:
    def append(self, data, name=None):
        self.count += 1
        while len(self.kept) >= self.limit:
            self.kept.popleft()
        self.kept.append(ServerSentEvent(data, event=name, id=id_of(self.epoch, len(self.kept) + 1)))
        self.bell.ring()


def id_of(epoch, number):
    return f"{epoch}-{number}"
