"""The search finds what it should, in an order that a reader would expect."""

from __future__ import annotations

from contextlib import aclosing
from pydoc_data.topics import topics

import anyio
import pytest
from starlette.exceptions import HTTPException

from dual_mode_streaming.playground.search import Hit, find, parse_query, ranked

CORPUS = {
    "cats": "Cats\n****\n\nA cat sleeps. A cat eats.\nThe DOG barks at the cat.\n",
    "dogs": "Dogs and a cat\n**************\n\nThe dog sleeps near the cat flap.\n",
    "fish": "Fish\n****\n\nA fish swims; it never sleeps.\n",
    "long": "Long\n\n" + "filler words stand here\n" * 200 + "one cat in a haystack\n",
}


async def search(query: str, corpus=CORPUS, **options) -> list[Hit]:
    return [hit async for hit in find(query, corpus=corpus, **options)]


async def names(query: str, **options) -> list[str]:
    return [hit.topic for hit in ranked(await search(query, **options)).hits]


@pytest.mark.parametrize(
    ("query", "terms"),
    [
        ("for", [("for",)]),
        ("For  LOOP", [("for",), ("loop",)]),
        ("for for FOR", [("for",)]),
        ('"for statement"', [("for", "statement")]),
        ('with "context manager', [("with",), ("context", "manager")]),
        ('"a b""c d"', [("a", "b"), ("c", "d")]),
        ("str.format try/except", [("str", "format"), ("try", "except")]),
        ("__init__", [("__init__",)]),
        ("Straße", [("strasse",)]),
        ("naïve 数", [("naïve",), ("数",)]),
        ("", []),
        ("   ", []),
        ("?!", []),
        ('""', []),
        ('"', []),
    ],
)
def test_queries_are_split_into_words_and_phrases(query, terms):
    assert parse_query(query) == terms


@pytest.mark.asyncio
async def test_a_hit_says_where_the_words_are():
    (hit,) = await search("eats")
    assert hit.topic == "cats"
    assert hit.title == "Cats"
    assert (hit.matches, hit.line) == (1, 4)
    assert CORPUS["cats"][hit.position :].startswith("eats")
    assert hit.snippet == "Cats A cat sleeps. A cat eats. The DOG barks at the cat."


@pytest.mark.asyncio
async def test_all_words_must_occur():
    assert await names("cat dog") == ["dogs", "cats"]
    assert await names("cat fish") == []


@pytest.mark.asyncio
async def test_case_does_not_count_but_whole_words_do():
    assert await names("dog") == await names("DOG") == ["cats", "dogs"]
    assert await names("haystac") == []


@pytest.mark.asyncio
async def test_a_phrase_must_stand_together():
    assert await names("cat sleeps") == ["dogs", "cats"]
    assert await names('"cat sleeps"') == ["cats"]
    assert await names('"sleeps. A cat"') == ["cats"]


@pytest.mark.asyncio
async def test_a_word_in_the_title_counts_more_and_a_long_text_counts_less():
    ranking = ranked(await search("cat"))
    assert [hit.topic for hit in ranking.hits] == ["dogs", "cats", "long"]
    assert ranking.count == 3
    assert ranking.hits[0].score > 3 > ranking.hits[1].score > ranking.hits[2].score > 0


@pytest.mark.asyncio
async def test_the_best_line_has_most_of_the_words_and_is_not_the_title():
    (hit,) = [hit for hit in await search("dog cat") if hit.topic == "cats"]
    assert hit.line == 5
    assert CORPUS["cats"][hit.position :].startswith("DOG")
    (hit,) = await search("two words", corpus={"one": "Two words\n\nThe words below."})
    assert (hit.line, hit.position) == (3, 15)
    (hit,) = await search("word", corpus={"one": "A word"})
    assert (hit.line, hit.position, hit.snippet) == (1, 2, "A word")


@pytest.mark.asyncio
async def test_a_snippet_is_short_and_shows_that_it_is_a_part():
    (hit,) = await search("haystack")
    assert len(hit.snippet) <= 170
    assert hit.snippet.startswith("… ")
    assert hit.snippet.endswith("one cat in a haystack")
    (hit,) = await search("x" * 150, corpus={"one": "T\n\n" + "y" * 500 + " " + "x" * 150 + " " + "z" * 500})
    assert "x" * 150 in hit.snippet


@pytest.mark.asyncio
async def test_equal_scores_are_ordered_by_topic():
    corpus = dict.fromkeys(["b", "c", "a"], "T\n\nword")
    assert await names("word", corpus=corpus) == ["a", "b", "c"]


def test_ranking_does_not_depend_on_the_order_of_arrival():
    def hit(topic: str, score: float) -> Hit:
        return Hit(topic=topic, title="", score=score, matches=1, line=1, position=0, snippet="")

    hits = [hit("b", 1.0), hit("c", 2.0), hit("a", 1.0)]
    assert [found.topic for found in ranked(hits).hits] == ["c", "a", "b"]
    assert [found.topic for found in hits] == ["b", "c", "a"]


@pytest.mark.asyncio
async def test_a_small_limit_keeps_topics_with_the_word_in_their_title():
    assert [hit.topic for hit in await search("cat", limit=1)] == ["dogs"]
    assert len(await search("cat", limit=2)) == 2


@pytest.mark.asyncio
@pytest.mark.parametrize("query", ["", "   ", "?!", '""'])
async def test_a_query_without_a_word_is_refused(query):
    with pytest.raises(HTTPException) as caught:
        await search(query)
    assert caught.value.status_code == 422
    assert "holds no word" in caught.value.detail


@pytest.mark.asyncio
async def test_an_empty_corpus_has_no_hits():
    assert await search("cat", corpus={}) == []
    assert ranked([]).model_dump() == {"count": 0, "hits": []}


@pytest.mark.asyncio
async def test_other_tasks_run_while_the_search_does():
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        assert [hit async for hit in find("thiswordisnowhere")] == []
        tasks.cancel_scope.cancel()
    assert turns >= len(topics)


@pytest.mark.asyncio
async def test_a_search_that_is_given_up_stops():
    read = []

    class Spy(dict):
        def __getitem__(self, name):
            read.append(name)
            return super().__getitem__(name)

    async with aclosing(find("word", corpus=Spy(dict.fromkeys("abc", "T\n\nword")))) as hits:
        assert (await anext(hits)).topic == "a"
        before = len(read)
    assert len(read) == before
    assert read[-1] == "a"


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("query", "best"),
    [('"for statement"', "for"), ("yield expression", "yield"), ("__getattr__ module", "attribute-access")],
)
async def test_the_language_reference(query, best):
    hits = ranked([hit async for hit in find(query)]).hits
    assert best in [hit.topic for hit in hits[:3]]
    for hit in hits:
        text = topics[hit.topic]
        assert text.count("\n", 0, hit.position) + 1 == hit.line
        assert any(text[hit.position :].casefold().startswith(term[0]) for term in parse_query(query))
        assert text[hit.position : hit.position + 4] in hit.snippet
