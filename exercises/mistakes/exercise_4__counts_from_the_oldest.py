# expect: TODO 3: All events with a higher number
"""The number of an event is not its place in the list."""


class History:
    def after(self, number):
        if not self.count - len(self.kept) <= number <= self.count:
            raise Gap(number)
        return list(self.kept)[number + 1 :]
