"""Values of the type that a caller asked for, made of JSON: by Pydantic where it is installed.

Rules of this file:

- Pydantic reads the JSON text, not the decoded value, so that strict models take what JSON can say, in every format.
- Pydantic is loaded when a type is asked for. Without it dataclasses are made of the members of an object, and of the
  plain types nothing is asked but that the value is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

from dual_mode_streaming.errors import UnexpectedAnswer
from dual_mode_streaming.jsonbytes import decode_json

__all__ = ["Converter", "convert", "converter_for"]

Converter = Callable[[bytes | str], Any]
"""Makes a value of a JSON text, or of a text that is no JSON. Raises `ValueError` if it does not fit."""

_PLAIN = frozenset({bool, dict, float, int, list, str})


def converter_for(wanted: Any) -> Converter:
    """Give what makes values of this type.

    Raises:
        TypeError: The type needs Pydantic, which is not installed, or Pydantic knows no way to make it.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
        from pydantic.errors import PydanticUserError
    except ModuleNotFoundError:
        return _without_pydantic(wanted)
    try:
        adapter: Any = TypeAdapter(wanted)
    except PydanticUserError as error:
        raise TypeError(f"type={wanted!r} is nothing that can be made of JSON: {error}") from error

    def convert(text: bytes | str) -> Any:
        try:
            return adapter.validate_json(text)
        except ValidationError as error:
            if error.errors(include_url=False)[0]["type"] != "json_invalid":
                raise
        return adapter.validate_python(text)

    return convert


def convert(converter: Converter, text: bytes | str, index: int | None = None) -> Any:
    """Make a value of a JSON text.

    Raises:
        UnexpectedAnswer: The text does not fit the type. `__cause__` says why.
    """
    try:
        return converter(text)
    except ValueError as error:
        what = "The answer" if index is None else f"Item {index}"
        raise UnexpectedAnswer(f"{what} is not of the type that was asked for: {error}", index=index) from error


def _without_pydantic(wanted: Any) -> Converter:
    if wanted not in _PLAIN and not (isinstance(wanted, type) and is_dataclass(wanted)):
        raise TypeError(f"type={wanted!r} needs Pydantic: pip install pydantic")

    make_of: Any = wanted

    def make(text: bytes | str) -> Any:
        try:
            value = decode_json(text)
        except ValueError:
            value = text
        if wanted in _PLAIN:
            if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
                raise ValueError(f"a value of type {type(value).__name__} is no {wanted.__name__}")
            return value
        if not isinstance(value, dict):
            raise ValueError(f"a value of type {type(value).__name__} has no members")  # noqa: TRY004  see Converter
        try:
            return make_of(**value)
        except TypeError as error:
            raise ValueError(str(error)) from error

    return make
