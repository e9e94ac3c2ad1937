# expect: TODO 3: has seen another log
"""A number that was never given is taken for the end."""


class History:
    def after(self, number):
        if number < self.count - len(self.kept):
            raise Gap(number)
        return [event for event in self.kept if place_of(event.id, self.epoch) > number]
