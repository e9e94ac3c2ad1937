# expect: TODO 5: Whoever has its number already drops it
"""Every event that arrives is kept."""


class Follower:
    def take(self, event):
        number = place_of(event.id or "", self.epoch)
        if number is None or number > self.number + 1:
            raise Gap(event.id)
        self.number = max(self.number, number)
        if event.event == "done":
            self.complete = True
        else:
            self.items.append(event.data)
