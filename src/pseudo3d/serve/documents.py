"""The documentation of the routes as one plain page, made from the OpenAPI description.

The usual page loads its script from another site; this one loads nothing, and needs no script.
"""

from collections.abc import Iterator
from html import escape
from typing import Any

FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary", "description": "the video"}
                    },
                }
            }
        },
    }
}
_SOCKET = """<section><h2 id="stream"><code>WS /stream</code></h2>
<p>Classes of a camera's frames as they come. Send the text
<code>{"token": "...", "top": 3}</code> first (the token only where one is wanted), then every frame
as JPEG, PNG or WebP in a binary message. Eight bytes before the picture may hold its time in
seconds, a little-endian double. Each decision comes back as the text
<code>{"time", "label", "score", "top", "latency_ms", "dropped"}</code>; a frame that comes while
the one before it is looked at replaces those that wait.</p></section>"""


def page(schema: dict[str, Any]) -> str:
    """The page."""
    about = schema["info"]
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(about['title'])}: REST interface</title>",
        '<link rel="stylesheet" href="docs.css"></head><body><main>',
        f"<h1>{escape(about['title'])} {escape(about['version'])}: REST interface</h1>",
        f"<p>{_text(about.get('description', ''))}</p>",
        '<p>For machines: <a href="openapi.json">openapi.json</a>. '
        'For people: <a href="./">the page</a>.</p>',
    ]
    for path, methods in schema["paths"].items():
        for method, route in methods.items():
            parts += _route(path, method, route)
    parts.append(_SOCKET)
    parts.append("<h2>Answers</h2>")
    for name, model in schema.get("components", {}).get("schemas", {}).items():
        if not name.endswith("ValidationError"):
            parts += _model(name, model)
    return "\n".join([*parts, "</main></body></html>"])


def _route(path: str, method: str, route: dict[str, Any]) -> Iterator[str]:
    yield f'<section><h2 id="{escape(path[1:])}"><code>{method.upper()} {escape(path)}</code></h2>'
    yield f"<p><strong>{escape(route.get('summary', ''))}.</strong> "
    yield f"{_text(route.get('description', ''))}</p>"
    rows = [
        (p["name"], _type(p["schema"]), p["schema"].get("default"), p.get("description", ""))
        for p in route.get("parameters", ())
    ]
    if "requestBody" in route:
        rows.append(("file", "multipart field", None, "the video, or scan"))
    if rows:
        yield "<table><tr><th>query</th><th>type</th><th>default</th><th></th></tr>"
        for name, kind, default, about in rows:
            shown = "" if default is None else str(default).lower()
            cells = (f"<code>{escape(name)}</code>", escape(kind), escape(shown), escape(about))
            yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
        yield "</table>"
    if "requestBody" in route:
        yield f"<pre>curl -F file=@clip.mp4 http://127.0.0.1:8000{escape(path)}</pre>"
    for answer in route["responses"].get("200", {}).get("content", {}).values():
        if ref := answer.get("schema", {}).get("$ref"):
            name = escape(ref.rpartition("/")[2])
            yield f'<p>Gives <a href="#model-{name}">{name}</a>.</p>'
    yield "</section>"


def _model(name: str, model: dict[str, Any]) -> Iterator[str]:
    yield f'<section><h3 id="model-{escape(name)}">{escape(name)}</h3>'
    yield f"<p>{_text(model.get('description', ''))}</p><table>"
    for key, value in model.get("properties", {}).items():
        about = escape(value.get("description", ""))
        yield f"<tr><td><code>{escape(key)}</code></td><td>{escape(_type(value))}</td>"
        yield f"<td>{about}</td></tr>"
    yield "</table></section>"


def _type(schema: dict[str, Any]) -> str:
    """A type in words."""
    if "anyOf" in schema:
        return " or ".join(_type(part) for part in schema["anyOf"])
    if ref := schema.get("$ref"):
        return str(ref.rpartition("/")[2])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _text(text: str) -> str:
    """Escaped, with what stands between backticks as code."""
    parts = escape(" ".join(text.split())).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))
