"""What the simulator says: a text to speak from, and values for the schemas of tools and of answers.

Both are pure: what is drawn comes from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

__all__ = ["SENTENCES", "value_for", "words_from"]

SENTENCES: tuple[str, ...] = (
    "A river does not wait until it is complete before it begins to flow.",
    "What falls on the hills in the night is a brook by the morning, and by noon it turns the wheel of the mill.",
    "The miller sees each wave when it comes, and would not know what to do with all of them at once.",
    "Further down lies a lake.",
    "It takes whatever the river brings, and shows it as one quiet surface.",
    "Whoever draws a bucket from the lake has the same water in it as the miller had, only later and all together.",
    "Both are right, and neither of them has to know of the other.",
    "In spring, when the snow melts, the river carries more than the wheel can use.",
    "Then a gate is lowered a little, and the water stands behind it until there is room.",
    "Nothing is lost by that, and nothing breaks.",
    "In summer there are days on which hardly anything comes.",
    "The miller listens, and as long as a drop falls now and then, he knows that the river has not died.",
    "Once a tree fell across the stream, high up, where nobody saw it.",
    "The wheel stood still, and it took an hour until somebody went to look for the reason.",
    "Since then a child sits at the spring and rings a bell when something is wrong.",
    "A bell is better than silence, because silence can mean so many things.",
    "At the mouth, where fresh water meets the tide, a stone marks the end.",
    "Travellers who reach it know that they have seen the whole river.",
    "Those who turned back earlier should not say so.",
)
"""A text of our own, so that it is the same with every version of Python."""

_DEEPEST = 8


def words_from(draw: Random, count: int) -> list[str]:
    """Give so many words of the text, from a sentence on that is drawn. Each but the first begins with its space."""
    at = draw.randrange(len(SENTENCES))
    words: list[str] = []
    while len(words) < count:
        words += SENTENCES[at % len(SENTENCES)].split()
        at += 1
    return [word if number == 0 else f" {word}" for number, word in enumerate(words[:count])]


def value_for(schema: Any, draw: Random, root: Any = None, depth: int = 0) -> Any:
    """Give a value that a JSON Schema allows, as far as it speaks of types, members, choices and bounds.

    Args:
        schema: The schema.
        draw: Where the value comes from.
        root: The schema in which references are looked up; None for this one.
        depth: How deep inside it stands. Schemas may refer to themselves.
    """
    root = schema if root is None else root
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {} if depth == 0 else None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return draw.choice(list(schema["enum"]))
    inner = _meant(schema, root)
    if inner is not None:
        return value_for(inner, draw, root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema or depth == 0 else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        return _object_for(schema, draw, root, depth)
    if kind == "array":
        least = max(1, int(schema.get("minItems", 1)))
        return [value_for(schema.get("items", {}), draw, root, depth + 1) for _ in range(least)]
    if kind in ("integer", "number"):
        return _number_for(schema, draw, whole=kind == "integer")
    if kind == "boolean":
        return draw.random() < 0.5
    return None if kind == "null" else _text_for(schema, draw)


def _meant(schema: Mapping[str, Any], root: Any) -> Any:
    """Give the schema that stands in the place of one: what it refers to, or its first variant."""
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        found = root
        for step in reference[2:].split("/"):
            name = step.replace("~1", "/").replace("~0", "~")
            found = found.get(name) if isinstance(found, Mapping) else None
        return found
    for name in ("anyOf", "oneOf", "allOf"):
        variants = schema.get(name)
        if isinstance(variants, Sequence) and variants:
            return variants[0]
    return None


def _object_for(schema: Mapping[str, Any], draw: Random, root: Any, depth: int) -> dict[str, Any]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return {}
    # Deep inside only what has to be there, so that schemas which refer to themselves come to an end.
    required = schema.get("required", ())
    names = [name for name in properties if depth < 2 or name in required]
    return {name: value_for(properties[name], draw, root, depth + 1) for name in names}


def _number_for(schema: Mapping[str, Any], draw: Random, *, whole: bool) -> int | float:
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    low = (0 if high is None else high - 100) if low is None else low
    high = low + 100 if high is None else high
    if not whole:
        return float(round(low + (high - low) * draw.uniform(0.25, 0.75), 6))
    first = int(low) + ("exclusiveMinimum" in schema or low > int(low))
    last = int(high) - ("exclusiveMaximum" in schema and high == int(high))
    return draw.randint(first, max(first, last))


def _text_for(schema: Mapping[str, Any], draw: Random) -> str:
    least, most = int(schema.get("minLength", 0)), int(schema.get("maxLength", 1 << 30))
    text = "".join(words_from(draw, 3)).rstrip(".,")
    while len(text) < least:
        text += "".join(words_from(draw, 5))
    return text[:most]
