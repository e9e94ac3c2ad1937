# expect: TODO 3: Nobody would notice that one is lost
"""Events that are not kept any more are left out in silence."""


class History:
    def after(self, number):
        return [event for event in self.kept if place_of(event.id, self.epoch) > number]
