# expect: TODO 5: `done` is no item
"""The last event is kept as if it were a line of the log."""


class Follower:
    def take(self, event):
        number = place_of(event.id or "", self.epoch)
        if number is None or number > self.number + 1:
            raise Gap(event.id)
        if number <= self.number:
            return
        self.number = number
        self.items.append(event.data)
        self.complete = event.event == "done"
