"""Names of a package that are loaded when they are first used (PEP 562).

A package that offers much says where each of its names is, and whoever imports one of them loads that module alone:

    __getattr__, __dir__ = names_on_first_use(globals(), {"SQLiteStore": "sqlite", "RedisStore": "redis"})

Checkers read the imports that stand beside it under `TYPE_CHECKING`. If a library is missing, the error names the extra
with which it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["names_on_first_use"]

EXTRAS = {
    "fastapi": "fastapi",
    "httpx2": "client",
    "nats": "nats",
    "opentelemetry": "otel",
    "prometheus_client": "prometheus",
    "redis": "redis",
    "uvicorn": "cli",
}
"""With which extra a library comes."""


def names_on_first_use(
    package: dict[str, Any], homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` of a package.

    Args:
        package: The `globals()` of the package. What was loaded once is kept there.
        homes: In which module of the package each name is. A name whose home is itself is that module.
    """

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        try:
            module = import_module(f".{homes[name]}", package["__name__"])
        except ModuleNotFoundError as missing:
            library = (missing.name or "").partition(".")[0]
            extra = EXTRAS.get(library)
            if extra is None:
                raise
            raise ModuleNotFoundError(
                f"{library} is missing; it comes with an extra: pip install 'dual-mode-streaming[{extra}]'",
                name=missing.name,
            ) from missing
        value = package[name] = module if homes[name] == name else getattr(module, name)
        return value

    return load, lambda: sorted({*package, *package["__all__"]})
