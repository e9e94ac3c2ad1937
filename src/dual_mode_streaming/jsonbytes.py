"""From any item to JSON bytes and back.

orjson does the work. The rules beside it, the same at the top of an item and deep inside it:

- NaN and the infinities become null. Keys that are None, booleans, integers, floats, dates or
  UUIDs become strings.
- Enums, dates, UUIDs and NumPy arrays are written by orjson; a dataclass as the object of its fields; a Pydantic model
  by its own serializer, by alias, as FastAPI does.
- Decimal becomes a string, which is exact; named tuples, sets and deques become arrays; paths become strings.
- Integers over 64 bits are written digit by digit, and read back exactly.
- Everything else is refused with `ItemNotEncodable`, which names the place. Bytes are among it: there is no one
  right text for them.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import PurePath
from typing import Any

import orjson

from .errors import ItemNotEncodable
from .events import ServerSentEvent

__all__ = ["decode_json", "encode_at_once", "encode_json", "has_long_digits"]

# orjson would write everything that it finds in a dataclass's `__dict__`, such as cached properties.
_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_LONG_DIGITS = re.compile(rb"\d{19,}")
_DIGITS_ALIKE = bytes.maketrans(b"123456789", b"000000000")
_LONG_RUN = b"0" * 19


def encode_json(value: Any) -> bytes:
    """Encode one item as compact JSON in UTF-8, on one line.

    Raises:
        ItemNotEncodable: A value inside the item has no JSON form. The error says where it is.
    """
    encoded = encode_at_once(value)
    return _on_one_line(_encode_carefully(value)) if encoded is None else encoded


def encode_at_once(value: Any) -> bytes | None:
    """Encode an item as `encode_json` does, if orjson can do it alone; every key in it is a plain text then.

    None tells to ask `encode_json`, which can do more, or says what is wrong.
    """
    try:
        encoded = orjson.dumps(value, _foreign, _OPTIONS)
    except TypeError:
        return None
    if 10 in encoded or 13 in encoded:  # LF or CR; looking for a number is ten times as fast as for bytes
        return _on_one_line(encoded)
    return encoded


def decode_json(text: bytes | str) -> Any:
    """Decode a JSON text (RFC 8259). NaN and Infinity are refused; integers are exact.

    Raises:
        ValueError: The text is not JSON.
    """
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if not has_long_digits(raw):
        return orjson.loads(raw)
    # orjson reads an integer over 64 bits as a float, or not at all. The standard library reads it exactly, but is
    # less strict; so orjson says whether the text is JSON, with the long numbers cut short.
    orjson.loads(_LONG_DIGITS.sub(b"1", raw))
    try:
        return json.loads(raw)
    except RecursionError:
        raise ValueError("the text is nested too deeply") from None


def has_long_digits(text: bytes) -> bool:
    """Whether a JSON text may hold an integer over 64 bits, which orjson does not read exactly."""
    # A regular expression would look at every place of the text: four times the time of decoding it.
    return _LONG_RUN in text.translate(_DIGITS_ALIKE)


def _on_one_line(encoded: bytes) -> bytes:
    # Only a text that the author has put in ready-made (`orjson.Fragment`) can hold a line break, and in JSON it can
    # only be white space.
    return encoded.replace(b"\n", b" ").replace(b"\r", b" ")


def _foreign(value: Any) -> Any:
    """Tell orjson what stands for a value that it does not know. Raising TypeError refuses the value."""
    serializer = getattr(type(value), "__pydantic_serializer__", None)
    if serializer is not None:
        encoded = serializer.to_json(value, by_alias=True)
        if b"NaN" in encoded or b"Infinity" in encoded:
            # A model may be told to write these names, which are no JSON.
            return serializer.to_python(value, mode="json", by_alias=True)
        return orjson.Fragment(encoded)
    if _is_object_of_fields(value):
        return _members(value)
    if isinstance(value, (tuple, set, frozenset, deque)):
        return list(value)
    if isinstance(value, (Decimal, PurePath)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError


def _is_object_of_fields(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, (type, ServerSentEvent))


def _members(value: Any) -> dict[str, Any]:
    kind: type = type(value)
    return {name: getattr(value, name) for name in _field_names(kind)}


@lru_cache(maxsize=512)
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if not field.name.startswith("_"))


def _encode_carefully(value: Any) -> bytes:
    """Encode what plain orjson refused: with keys that are no strings, then with long integers, or say why not."""
    try:
        return orjson.dumps(value, _foreign, _OPTIONS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        plain = _plain(value, "$", 0)
        return orjson.dumps(plain, _foreign, _OPTIONS | orjson.OPT_NON_STR_KEYS)


def _plain(value: Any, path: str, depth: int) -> Any:
    """Copy an item with every long integer replaced by its digits; refuse the first value that has no JSON form."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**64:
        try:
            return orjson.Fragment(str(int(value)).encode())
        except ValueError:
            raise ItemNotEncodable(path, type(value).__name__, "it has more digits than Python writes") from None
    if depth > 200:
        raise ItemNotEncodable(path[:80] + "...", type(value).__name__, "it is nested too deeply, or holds itself")
    if _is_object_of_fields(value) and not hasattr(value, "__pydantic_serializer__"):
        value = _members(value)
    if isinstance(value, Mapping):
        return {_key(key, path): _plain(member, f"{path}{_member(key)}", depth + 1) for key, member in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [_plain(member, f"{path}[{index}]", depth + 1) for index, member in enumerate(value)]
    try:
        orjson.dumps(value, _foreign, _OPTIONS)
    except Exception as error:
        raise ItemNotEncodable(path, type(value).__name__, _reason(value, error)) from None
    return value


def _key(key: Any, path: str) -> Any:
    if isinstance(key, int) and not isinstance(key, bool):
        return str(int(key))
    try:
        orjson.dumps({key: None}, None, orjson.OPT_NON_STR_KEYS)
    except TypeError as error:
        raise ItemNotEncodable(path, type(key).__name__, f"as a key of an object {_reason(key, error)}") from None
    return key


def _member(key: Any) -> str:
    """Write a key as a step of a JSONPath."""
    text = str(key)
    return f".{text}" if text.isidentifier() else f"[{text[:40]!r}]"


def _reason(value: Any, error: Exception) -> str:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "bytes have no one text form; decode them or use base64"
    if isinstance(value, str):
        return "the text holds a lone surrogate, which UTF-8 cannot carry"
    if isinstance(value, ServerSentEvent):
        return "an event is not a part of an item; yield it by itself"
    cause = error.__cause__
    if cause is not None and not isinstance(cause, TypeError):
        return f"its serializer failed with {type(cause).__name__}"
    return "the type has no JSON form"
