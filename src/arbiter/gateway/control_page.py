"""The control API's description as one page to read: no script, no cookie, nothing from elsewhere.

It is made of the same description that programs read, and of nothing that anybody else wrote.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from typing import Any, Final

from fastapi.responses import Response
from starlette.requests import Request

Found = Mapping[str, Any]

ADDRESS: Final = "/v1/docs"

_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --faint: #5d646d;
  --rule: #d9dde2; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e6e8eb; --faint: #a0a8b2;
  --rule: #363c44; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif;
  max-width: 75rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
.faint { color: var(--faint); } a { color: inherit; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0;
  border-bottom: 1px solid var(--rule); }
"""

_HEAD: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
"""

_HOW: Final = """<p class="faint">Bodies are JSON, with the header Content-Type: application/json.
Where keys are needed, send one that may change things: Authorization: Bearer KEY.</p>
"""

_STYLED: Final = b64encode(sha256(_STYLE.encode()).digest()).decode()
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLED}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}
"""What a browser may do with the page: show it, in no frame, in the page's own style."""


def showing(describe: Callable[[], Found]) -> Callable[[Request], Awaitable[Response]]:
    """What answers at the page's address."""

    async def show(request: Request) -> Response:
        del request
        return Response(page(describe()), media_type="text/html", headers=dict(HEADERS))

    return show


def page(found: Found) -> str:
    """The whole page. found: the description as OpenAPI has it."""
    base = escape(found["servers"][0]["url"])
    title, about = (escape(found["info"][name]) for name in ("title", "description"))
    parts = [
        f"{_HEAD}<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n",
        f"<body>\n<h1>{title}</h1>\n<p>{about} ",
        f'For programs: <a href="{base}/v1/openapi.json">openapi.json</a>.</p>\n{_HOW}',
        *_routes(found["paths"], base),
        "<h2>Bodies</h2>\n",
        *(_body(name, facts) for name, facts in sorted(found["components"]["schemas"].items())),
        "</body>\n</html>\n",
    ]
    return "".join(parts)


def _routes(paths: Found, base: str) -> Iterator[str]:
    """A table for each subject."""
    subjects: dict[str, list[tuple[str, str, Found]]] = {}
    for path, methods in paths.items():
        for method, facts in methods.items():
            found = subjects.setdefault(str(facts["tags"][0]), [])
            found.append((f"{base}{escape(path)}", method.upper(), facts))
    for subject, routes in sorted(subjects.items()):
        yield f"<h2>{escape(subject)}</h2>\n"
        rows = [_route(*one) for one in sorted(routes, key=lambda one: (one[0], one[1]))]
        yield _table(("", "address", "what it does", "query", "body"), rows)


def _route(path: str, method: str, facts: Found) -> tuple[str, ...]:
    told = f"{facts['summary']} {facts.get('description', '')}"
    query = [one["name"] for one in facts.get("parameters", ()) if one["in"] == "query"]
    content = facts.get("requestBody", {}).get("content", {})
    body = kind(content["application/json"]["schema"]) if content else ""
    return (method, f"<code>{path}</code>", escape(told), escape(", ".join(query)), body)


def _body(name: str, facts: Found) -> str:
    needed = facts.get("required", ())
    rows = [
        (
            f"<code>{escape(field)}</code>",
            kind(schema),
            "needed" if field in needed else "",
            escape(schema.get("description", "")),
        )
        for field, schema in facts["properties"].items()
    ]
    head = f'<h3 id="{escape(name)}">{escape(name)}</h3>\n'
    return f"{head}<p>{escape(facts.get('description', ''))}</p>\n" + _table((), rows)


def kind(schema: Found) -> str:
    """What a field may be, as markup.

    >>> kind({"anyOf": [{"type": "string"}, {"type": "null"}]})
    'string or null'
    >>> kind({"type": "array", "items": {"$ref": "#/components/schemas/Case"}})
    'list of <a href="#Case">Case</a>'
    """
    if "$ref" in schema:
        name = escape(str(schema["$ref"]).rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(kind(one) for one in schema[several])
    if "enum" in schema:
        return escape(" or ".join(map(str, schema["enum"])))
    told = schema.get("type", "anything")
    if told == "array":
        return f"list of {kind(schema['items'])}" if "items" in schema else "list"
    return escape(" or ".join(told) if isinstance(told, list) else str(told))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are markup already."""
    lines = ["<table>\n"]
    if head:
        lines.append("<tr>" + "".join(f"<th>{escape(one)}</th>" for one in head) + "</tr>\n")
    lines += ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>\n" for row in rows]
    return "".join((*lines, "</table>\n"))
