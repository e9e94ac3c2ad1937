# expect: TODO 5: What it has is still true
"""The number is remembered before it is known to be good."""


class Follower:
    def take(self, event):
        before, number = self.number, place_of(event.id or "", self.epoch)
        if number is None:
            raise Gap(event.id)
        if number <= before:
            return
        self.number = number
        if number > before + 1:
            raise Gap(event.id)
        if event.event == "done":
            self.complete = True
        else:
            self.items.append(event.data)
