# expect: TODO 5: Number 4 means that one was lost on the way
"""What is newer is taken, whether or not it is the next."""


class Follower:
    def take(self, event):
        number = place_of(event.id or "", self.epoch)
        if number is None:
            raise Gap(event.id)
        if number <= self.number:
            return
        self.number = number
        if event.event == "done":
            self.complete = True
        else:
            self.items.append(event.data)
