"""The grammar that headers share (RFC 9110, section 5), and the header `Prefer` (RFC 7240).

Rules of this file:

- Pure text in, values out. A request's header is a stranger's text: nothing here raises, whatever it holds.
- Several lines of one header are one list, joined by commas (RFC 9110, section 5.3), as a proxy may have done already.
- A comma or semicolon inside a quoted string separates nothing. A quoted string that is never closed goes on to
  the end of the header, so it spoils its own list member and all that follow.
- White space is space and tab, nothing else: `str.strip()` would take away more.
- Every step takes time linear in the length of the header: the patterns never give back what they have matched
  (`++` and `*+`), so a hostile header cannot make them try again. Some servers take headers of any length, so
  responses read none that is longer than `LONGEST`.

Choices that RFC 7240 leaves open:

- A preference with a mistake in it is dropped whole, the others stay: preferences are hints.
- A quoted string that is never closed makes all of `Prefer` void. Where the quotes do not pair up, nobody can tell
  which words were meant to stand outside of them.
- The first of several preferences with one name counts (section 2); for its parameters the same.
- `wait` and `respond-async` with a value they do not have in section 4 count as not given.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = [
    "LONGEST",
    "OWS",
    "TCHARS",
    "Parameters",
    "Preference",
    "Preferences",
    "check_forged",
    "combine_lines",
    "parse_prefer",
    "read_parameters",
    "shortened",
    "split_list",
]

OWS = " \t"
LONGEST = 16_384
"""The most bytes of one header that a response reads, all its lines together. It is what proxies let through at most,
and a few milliseconds of work at the worst."""
# One or more `tchar`: what RFC 9110 (section 5.6.2) calls a token.
TCHARS = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FORGES = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_CONTROLS = r"\x00-\x08\x0a-\x1f\x7f"
_QUOTED = rf'"(?:[^"\\{_CONTROLS}]++|\\[^{_CONTROLS}])*+"'
_WORD = rf"(?:{TCHARS}|{_QUOTED})"

# A member of a list: anything but commas, with quoted strings taken whole, even one that is not closed.
_MEMBER = re.compile(r'(?:[^",]++|"(?:[^"\\]++|\\.?+)*+(?:"|\Z))++', re.DOTALL)
_CLOSED = re.compile(r'(?:[^"]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
# The grammar allows empty parameters (`a/b;;c=d;`), so name and value are optional as a whole.
_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({TCHARS})(?:=({_WORD}))?)?")
_SPACED_PARAMETER = re.compile(rf"[ \t]*+;[ \t]*+(?:({TCHARS})(?:[ \t]*+=[ \t]*+({_WORD}))?)?")
_PREFERENCE = re.compile(rf"({TCHARS})(?:[ \t]*+=[ \t]*+({_WORD}))?")
_ESCAPED = re.compile(r"\\(.)")

# What RFC 9111 (section 1.2.2) says of a number of seconds that is too large to represent.
_LONGEST_WAIT = 2**31

Parameters = list[tuple[str, str | None]]


def combine_lines(value: str | Sequence[str] | None) -> str:
    """Join the lines of one header into one value (RFC 9110, section 5.3).

    Args:
        value: The only line, all lines in order, or None if the request has no such header.

    Returns:
        The value; empty if there is none.
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else ", ".join(value)


def split_list(value: str) -> list[str]:
    """Split a list into its members (RFC 9110, section 5.6.1). Empty members are left out."""
    members = value.split(",") if '"' not in value else _MEMBER.findall(value)
    return [stripped for member in members if (stripped := member.strip(OWS))]


def read_parameters(text: str, start: int = 0, *, spaced: bool = False) -> Parameters | None:
    """Read the parameters at the end of a list member (RFC 9110, section 5.6.6).

    Args:
        text: The list member, without white space at its end.
        start: Where the first semicolon is to be, after white space.
        spaced: Allow white space around the equals sign, as RFC 7240 does and RFC 9110 does not.

    Returns:
        The names in lower case and the values without quotes, in order; None for a value that is missing, and
        None instead of the list if the text is not of this grammar.
    """
    pattern = _SPACED_PARAMETER if spaced else _PARAMETER
    parameters: Parameters = []
    while start < len(text):
        match = pattern.match(text, start)
        if match is None:
            return None
        name, value = match.groups()
        if name is not None:
            parameters.append((name.lower(), _unquote(value)))
        start = match.end()
    return parameters


def shortened(text: str) -> str:
    """Cut a client's text to a length that may be sent back in an error."""
    return text if len(text) <= 200 else text[:200] + "..."


def check_forged(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse headers of an answer that would forge another line of it (RFC 9110, section 5.5).

    Not every server looks for them, and some that do find out when the first line is on its way.

    Raises:
        ValueError: A name or a value holds a control character other than a tab.
    """
    for name, value in headers:
        if _FORGES.search(name) or _FORGES.search(value):
            raise ValueError(f"the header {name.decode('latin-1')!r} holds a line break or another control character")


def _unquote(word: str | None) -> str | None:
    if word is None or not word.startswith('"'):
        return word
    return _ESCAPED.sub(r"\1", word[1:-1]) if "\\" in word else word[1:-1]


@dataclass(frozen=True, slots=True)
class Preference:
    """One preference of a request (RFC 7240, section 2).

    Attributes:
        name: Its name, in lower case.
        value: Its value as it was written, without quotes. None if there is none or it is empty, which is the same.
        params: Its parameters, names in lower case; values as above.
    """

    name: str
    value: str | None = None
    params: Mapping[str, str | None] = field(default_factory=dict)


class Preferences(Mapping[str, Preference]):
    """What a client prefers (RFC 7240), by name in any letter case, in the order of the request."""

    __slots__ = ("_by_name",)

    def __init__(self, preferences: Sequence[Preference] = ()) -> None:
        self._by_name: dict[str, Preference] = {}
        for preference in preferences:
            self._by_name.setdefault(preference.name.lower(), preference)

    def __getitem__(self, name: str) -> Preference:
        return self._by_name[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __repr__(self) -> str:
        return f"Preferences({list(self._by_name.values())!r})"

    @property
    def respond_async(self) -> bool:
        """Whether the client would rather have a 202 at once than wait for the answer (RFC 7240, section 4.1)."""
        preference = self._by_name.get("respond-async")
        return preference is not None and preference.value is None

    @property
    def wait(self) -> int | None:
        """How many seconds the client is willing to wait (RFC 7240, section 4.3); None if it does not say."""
        preference = self._by_name.get("wait")
        seconds = preference.value if preference is not None else None
        # isdigit() alone takes digits of other scripts; and int() refuses a text of more than 4300 digits.
        if seconds is None or not (seconds.isascii() and seconds.isdigit()):
            return None
        digits = seconds.lstrip("0") or "0"
        return min(int(digits), _LONGEST_WAIT) if len(digits) <= 10 else _LONGEST_WAIT


def parse_prefer(value: str | Sequence[str] | None) -> Preferences:
    """Read the header `Prefer` (RFC 7240, section 2).

    Args:
        value: The header's only line, all its lines in order, or None if there is none.

    Returns:
        The preferences that are well formed, possibly none. What is not is left out, never an error.
    """
    text = combine_lines(value)
    if _CLOSED.fullmatch(text) is None:
        return Preferences()
    return Preferences([found for member in split_list(text) if (found := _preference(member)) is not None])


def _preference(member: str) -> Preference | None:
    head = _PREFERENCE.match(member)
    if head is None:
        return None
    parameters = read_parameters(member, head.end(), spaced=True)
    if parameters is None:
        return None
    params: dict[str, str | None] = {}
    for name, value in parameters:
        params.setdefault(name, value or None)
    return Preference(head[1].lower(), _unquote(head[2]) or None, params)
