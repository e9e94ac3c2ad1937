"""The places of a stream: how far it was read, and what of it was read before.

A place is an event id. A server that is sent the last one goes on behind it.

Rules of this file:

- A decoder tells the last id of the connection with each event, not whether the event had a line of its own for it. So
  an event has a place of its own if the id changes with it. One without cannot be resumed behind.
- Some servers begin anew although they are sent an id, or begin with the event of that id. So after a cut, events with
  ids that were seen are received before, up to the id of the cut.
- On one connection no event is taken for an old one. If an id comes back there, the ids of this server are no places.
"""

from __future__ import annotations

import re

__all__ = ["Places"]

# What cannot stand in the value of a header (RFC 9110, section 5.5).
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Places:
    """Where a stream is, over all its connections.

    Args:
        last_id: Where it was when it was read before; empty for its beginning.
        remembers: How many ids it keeps at least, to know again what was received; at most twice as many.

    Attributes:
        last_id: The place that was reached; empty if there is none.
        here: The newest id of this connection; empty if there is none yet.
        dropping: Whether events without an id of their own were received before.
        unplaced: How many events have come behind the place, without one of their own.
        lost: Whether the server has begun anew, and the ids of its beginning are no longer remembered.
    """

    __slots__ = (
        "_cut",
        "_first_id",
        "_forgot",
        "_remembers",
        "_repeats",
        "_seen",
        "_seen_before",
        "_unique",
        "dropping",
        "here",
        "last_id",
        "lost",
        "unplaced",
    )

    def __init__(self, last_id: str = "", remembers: int = 10_000) -> None:
        self.last_id = last_id
        self.here = ""
        self.dropping = False
        self.unplaced = 0
        self.lost = False
        self._remembers = remembers
        # Two generations: dropping the older one as a whole costs nothing for each id.
        self._seen = {last_id} if last_id else set[str]()
        self._seen_before = set[str]()
        self._first_id = ""
        self._forgot = False
        self._unique = True
        # From where this connection was to go on, and whether it may still be in what came before.
        self._cut = last_id
        self._repeats = bool(last_id)

    @property
    def resumable(self) -> bool:
        """Whether a server that is sent `last_id` goes on with what comes next, and repeats nothing."""
        return bool(self.last_id) and not self.unplaced and self._unique and not _UNSENDABLE.search(self.last_id)

    @property
    def unique(self) -> bool:
        """Whether no id has come back, so that they can be places."""
        return self._unique

    def reconnected(self) -> None:
        """Begin another connection."""
        self.here = ""
        self.dropping = False
        self._cut = self.last_id
        self._repeats = bool(self._seen or self._seen_before)

    def move(self, new_id: str) -> bool:
        """Take the next id of the connection, which is another one than `here`.

        Returns:
            Whether the event with this id was received before.
        """
        self.here = new_id
        self.dropping = False
        if not new_id:
            # The server takes its ids back (WHATWG HTML, section 9.2.6). What comes now has no place.
            self.last_id = ""
            self.unplaced += 1
            return False
        if self._repeats:
            if new_id == self._cut:
                self._repeats = False
                return True
            if new_id in self._seen or new_id in self._seen_before:
                self.dropping = True
                return True
            if self._forgot and new_id == self._first_id:
                self.lost = True
                return True
            self._repeats = False
        elif new_id in self._seen or new_id in self._seen_before:
            self._unique = False
        self._first_id = self._first_id or new_id
        self._seen.add(new_id)
        if len(self._seen) >= self._remembers:
            self._forgot = bool(self._seen_before)
            self._seen_before, self._seen = self._seen, set()
        self.last_id = new_id
        self.unplaced = 0
        return False
