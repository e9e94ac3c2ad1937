"""Reads the JSON body of a request, field by field, and says precisely what is wrong with it.

A field is named by its path (`messages[0].content`), as the vendors do. What was not read is kept as `rest`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dual_mode_streaming.errors import InvalidRequest
from dual_mode_streaming.jsonbytes import decode_json

__all__ = ["Fields", "read_body"]


def read_body(body: bytes) -> Fields:
    """Read the body of a request.

    Raises:
        InvalidRequest: It is no JSON object.
    """
    try:
        value = decode_json(body)
    except ValueError:
        raise InvalidRequest("The body of the request is not JSON.") from None
    if not isinstance(value, dict):
        raise InvalidRequest(f"The body of the request is {_kind(value)}; it must be a JSON object.")
    return Fields(value)


class Fields:
    """The members of one JSON object of the request. Every method raises `InvalidRequest` where a type is wrong.

    A member that is null counts as absent.

    Attributes:
        value: The object as it came.
        path: Where it is in the body; empty for the body itself.
    """

    def __init__(self, value: dict[str, Any], path: str = "") -> None:
        self.value = value
        self.path = path
        self._read: set[str] = set()

    def at(self, name: str) -> str:
        """Give the path of a member."""
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, why: str) -> InvalidRequest:
        """Make the error that says what is wrong with a member."""
        path = self.at(name)
        return InvalidRequest(f"{path}: {why}", path)

    def get(self, name: str) -> Any:
        """Give a member of any type, or None."""
        self._read.add(name)
        return self.value.get(name)

    def rest(self) -> dict[str, Any]:
        """Give the members that nobody has read."""
        return {name: value for name, value in self.value.items() if name not in self._read}

    def text(self, name: str, *, required: bool = False) -> str | None:
        """Give a string."""
        value = self.get(name)
        if value is None and not required:
            return None
        if not isinstance(value, str):
            raise self._wrong(name, value, "a string")
        return value

    def name(self, name: str) -> str:
        """Give a string that has to be there and not to be empty."""
        value = self.text(name, required=True)
        if not value:
            raise self.refuse(name, "it must not be empty")
        return value

    def flag(self, name: str) -> bool | None:
        """Give a boolean."""
        value = self.get(name)
        if value is not None and not isinstance(value, bool):
            raise self._wrong(name, value, "true or false")
        return value

    def integer(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """Give an integer within bounds. `2.0` is an integer of JSON."""
        value = self.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise self._wrong(name, value, "an integer")
        self._check(name, value, least, most)
        return value

    def number(self, name: str, *, least: float | None = None, most: float | None = None) -> float | None:
        """Give a number within bounds."""
        value = self.get(name)
        if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
            raise self._wrong(name, value, "a number")
        self._check(name, value, least, most)
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Give an object as it is."""
        value = self.get(name)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(name, value, "an object")
        return value

    def fields(self, name: str) -> Fields:
        """Give an object, to be read; an absent one is empty."""
        return Fields(self.mapping(name) or {}, self.at(name))

    def array(self, name: str, *, required: bool = False) -> list[Any]:
        """Give an array; an absent one is empty."""
        value = self.get(name)
        if value is None and not required:
            return []
        if not isinstance(value, list):
            raise self._wrong(name, value, "an array")
        return value

    def objects(self, name: str, *, required: bool = False) -> Iterator[Fields]:
        """Give the members of an array of objects, to be read."""
        for number, value in enumerate(self.array(name, required=required)):
            if not isinstance(value, dict):
                raise self._wrong(f"{name}[{number}]", value, "an object")
            yield Fields(value, f"{self.at(name)}[{number}]")

    def texts(self, name: str) -> tuple[str, ...]:
        """Give a string or an array of strings."""
        value = self.get(name)
        if isinstance(value, str):
            return (value,)
        texts = self.array(name)
        for number, text in enumerate(texts):
            if not isinstance(text, str):
                raise self._wrong(f"{name}[{number}]", text, "a string")
        return tuple(texts)

    def schema(self, name: str) -> Mapping[str, Any]:
        """Give the JSON Schema of a tool's arguments: an object that describes an object."""
        schema = self.mapping(name) or {}
        if schema.get("type", "object") != "object":
            raise self.refuse(name, f'the schema must be of the type "object", not {schema["type"]!r}')
        if not isinstance(schema.get("properties", {}), dict):
            raise self.refuse(f"{name}.properties", "it must be an object")
        return schema

    def _check(self, name: str, value: float | None, least: float | None, most: float | None) -> None:
        if value is not None and least is not None and value < least:
            raise self.refuse(name, f"it must be at least {least}, not {value}")
        if value is not None and most is not None and value > most:
            raise self.refuse(name, f"it must be at most {most}, not {value}")

    def _wrong(self, name: str, value: Any, wanted: str) -> InvalidRequest:
        if value is None:
            return self.refuse(name, "it is required")
        return self.refuse(name, f"it must be {wanted}, not {_kind(value)}")


def _kind(value: Any) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
