"""Full-text search over the language reference that ships with Python (`pydoc_data.topics`).

A query is words and "phrases in quotes"; all of them must occur in a topic. Case and punctuation do not count, and
words that are written together (`str.format`, `try/except`) are a phrase.

Rules of this file:

- A hit is known as soon as its own topic is read, so it is streamed at once. Therefore its score needs nothing but
  that topic: for each term `2.2 n / (n + 1.2 (0.25 + 0.75 length / mean length))`, where n counts how often it occurs
  (BM25 without the rarity of words, which would need all topics first, and which matters little where every term
  must occur), and 3 more for a term in the title.
- Topics with a term in their title are read first. So the best hits come early, and a small limit keeps them.
- The loop gets a turn after each topic. The longest, 62 kB, takes about ten milliseconds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pydoc_data.topics import topics

import anyio.lowlevel
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

__all__ = ["Hit", "Ranking", "find", "parse_query", "ranked"]

_WORD = re.compile(r"\w+")
_CLAUSE = re.compile(r'"[^"]*"?|[^\s"]+')
_RULER = re.compile(r"[*=~^-]{4,}")
_TITLE_BONUS = 3.0
_SNIPPET = 160

Term = tuple[str, ...]
"""A word, or the words of a phrase, without case."""


class Hit(BaseModel):
    """A topic in which all words of the query occur."""

    topic: str = Field(description="The name of the topic: `help(topic)` in a Python shell shows it.")
    title: str
    score: float = Field(description="Higher is better.")
    matches: int = Field(description="How often the words and phrases of the query occur in the topic.")
    line: int = Field(description="The line with the best match, counted from 1.")
    position: int = Field(description="Where in the topic that match begins, in characters.")
    snippet: str = Field(description="The text around that match.")


class Ranking(BaseModel):
    """All hits, the best first."""

    count: int
    hits: list[Hit]


def ranked(hits: Sequence[Hit]) -> Ranking:
    """Order the hits by score, and those of the same score by topic."""
    return Ranking(count=len(hits), hits=sorted(hits, key=lambda hit: (-hit.score, hit.topic)))


async def find(query: str, *, limit: int = 100, corpus: Mapping[str, str] = topics) -> AsyncIterator[Hit]:
    """Give each topic in which the words of the query occur, as it is found.

    Args:
        query: Words, and phrases in double quotes.
        limit: How many hits to give before the search stops.
        corpus: Texts by name. The first line of a text is its title.

    Raises:
        HTTPException: 422, the query holds no word.
    """
    terms = parse_query(query)
    if not terms:
        raise HTTPException(422, f"The query {query!r} holds no word to look for. Try q=generator.")
    mean = sum(map(len, corpus.values())) / max(len(corpus), 1)
    for name in _promising_first(corpus, terms):
        hit = _look(name, corpus[name], terms, mean)
        if hit is not None:
            yield hit
            limit -= 1
            if limit <= 0:
                return
        await anyio.lowlevel.checkpoint()


def parse_query(query: str) -> list[Term]:
    """Split a query into its words and phrases, each only once. A quote that is not closed reaches to the end."""
    clauses = (tuple(_WORD.findall(found[0].casefold())) for found in _CLAUSE.finditer(query))
    return list(dict.fromkeys(filter(None, clauses)))


@dataclass(frozen=True, slots=True)
class _Match:
    """Where a term occurs in a text, in characters."""

    term: Term
    position: int


class _Words:
    """The words of a text and their places."""

    def __init__(self, text: str) -> None:
        found = list(_WORD.finditer(text))
        self._positions = [word.start() for word in found]
        self._words = [word[0].casefold() for word in found]
        self._places: defaultdict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(self._words):
            self._places[word].append(place)

    def matches(self, term: Term) -> list[_Match]:
        places = self._places.get(term[0], [])
        if len(term) > 1:
            places = [place for place in places if tuple(self._words[place : place + len(term)]) == term]
        return [_Match(term, self._positions[place]) for place in places]


def _promising_first(corpus: Mapping[str, str], terms: Sequence[Term]) -> list[str]:
    def promise(name: str) -> int:
        words = _Words(_title(corpus[name]))
        return -sum(bool(words.matches(term)) for term in terms)

    return sorted(sorted(corpus), key=promise)


def _look(name: str, text: str, terms: Sequence[Term], mean: float) -> Hit | None:
    """Search one topic."""
    words = _Words(text)
    by_term = [words.matches(term) for term in terms]
    if not all(by_term):
        return None
    title = _title(text)
    length = 1.2 * (0.25 + 0.75 * len(text) / mean)
    score = sum(2.2 * len(found) / (len(found) + length) for found in by_term)
    score += sum(_TITLE_BONUS for found in by_term if found[0].position < len(title))
    everywhere = sorted((match for found in by_term for match in found), key=lambda match: match.position)
    line, position = _best_line(text, everywhere)
    return Hit(
        topic=name,
        title=title,
        score=round(score, 3),
        matches=len(everywhere),
        line=line,
        position=position,
        snippet=_snippet(text, position),
    )


def _best_line(text: str, matches: Sequence[_Match]) -> tuple[int, int]:
    """Choose the line with most of the terms, the first of several, and the place of its first match.

    The title is shown with every hit anyway, so its line is chosen only if the terms occur nowhere else.
    """
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    lines: defaultdict[int, list[_Match]] = defaultdict(list)
    for match in matches:
        lines[bisect_right(starts, match.position)].append(match)
    terms = Counter({line: len({match.term for match in found}) for line, found in lines.items()})
    best = max(lines, key=lambda line: (line > 1, terms[line], -line))
    return best, lines[best][0].position


def _snippet(text: str, position: int) -> str:
    """Cut out the text around a match: on one line, between words, with dots where something is left out."""
    start = max(position - _SNIPPET // 3, 0)
    end = min(start + _SNIPPET, len(text))
    if start > 0:
        start = max(text.find(" ", start, position), text.find("\n", start, position), start - 1) + 1
    if end < len(text):
        end = max(text.rfind(" ", position, end), text.rfind("\n", position, end))
        end = end if end > position else min(position + _SNIPPET, len(text))
    middle = " ".join(_RULER.sub(" ", text[start:end]).split())
    return f"{'… ' if start > 0 else ''}{middle}{' …' if end < len(text) else ''}"


def _title(text: str) -> str:
    return text.split("\n", 1)[0].strip()
