# expect: TODO 2: waits for the bell
"""Who follows the log is not woken."""


class History:
    def append(self, data, name=None):
        self.count += 1
        self.kept.append(ServerSentEvent(data, event=name, id=id_of(self.epoch, self.count)))
        while len(self.kept) > self.limit:
            self.kept.popleft()
