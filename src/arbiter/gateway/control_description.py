"""The control API's description of itself, as its addresses really answer.

The framework writes down what it would do with a request that it refuses; here errors have a shape
of their own at every address, and that is what a program that reads the description has to expect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_FRAMEWORKS: Final = ("HTTPValidationError", "ValidationError")

_ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "description": "What went wrong. Match on `error.code`; `arbiter.ours`: whether no engine did.",
    "required": ["error", "arbiter"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        },
        "arbiter": {
            "type": "object",
            "required": ["ours", "decision"],
            "properties": {
                "ours": {"type": "boolean"},
                "decision": {"type": ["string", "null"]},
            },
        },
    },
}
_REFUSED: Final[Mapping[str, Any]] = {
    "description": "What went wrong.",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
}
_KEY: Final[Mapping[str, Any]] = {"type": "http", "scheme": "bearer", "description": "A key."}


def describing(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """What makes the description of an application; the same one every time."""
    made: dict[str, Any] = {}

    def describe() -> dict[str, Any]:
        if not made:
            made.update(_described(app))
        return made

    return describe


def _described(app: FastAPI) -> dict[str, Any]:
    found = get_openapi(
        title=app.title,
        version=app.version,
        routes=app.routes,
        description=app.description,
        servers=[{"url": "/control"}],
    )
    for methods in found["paths"].values():
        for operation in methods.values():
            _summed_up(operation)
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _REFUSED
    components = found["components"]
    for name in _FRAMEWORKS:
        components["schemas"].pop(name, None)
    components["schemas"]["Error"] = _ERROR
    components["securitySchemes"] = {"key": _KEY}
    found["security"] = [{}, {"key": []}]  # on loopback none is needed until there is one
    return found


def _summed_up(operation: dict[str, Any]) -> None:
    """Put the sentence of an address where others have a name made of its function's."""
    first, _, rest = str(operation.pop("description", "")).partition("\n\n")
    operation["summary"] = " ".join(first.split())
    if rest:
        operation["description"] = rest
