"""The API's documentation for people, as one page without scripts: no other host is asked."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any

_STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}"
    "pre{background:#f4f4f4;padding:.5em;overflow:auto}summary{cursor:pointer}"
    "td,th{text-align:left;vertical-align:top;padding:0 1em .3em 0}"
)


def page(document: dict[str, Any]) -> str:
    """An OpenAPI document as HTML."""
    info = document["info"]
    return "\n".join(
        (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
            f"<h1>{escape(info['title'])}</h1>{_text(info['description'])}",
            '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>',
            *(
                line
                for path, methods in document["paths"].items()
                for method, operation in methods.items()
                for line in _operation(f"{method.upper()} {path}", operation)
            ),
            "<h2>Schemas</h2>",
            *(
                f'<h3 id="{escape(name)}">{escape(name)}</h3>{_text(schema.get("description", ""))}'
                f"<pre>{escape(json.dumps(schema.get('properties', {}), indent=1))}</pre>"
                for name, schema in document["components"]["schemas"].items()
            ),
            "</body></html>",
        )
    )


def _operation(name: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f"<h2>{escape(operation['summary'])}</h2><pre>{escape(name)}</pre>"
    yield _text(operation.get("description", ""))
    if parameters := operation.get("parameters"):
        yield _table(
            (one["name"], one["in"], one.get("description", ""), json.dumps(one["schema"]))
            for one in parameters
        )
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        yield (
            "<details><summary>The body</summary>"
            f"<pre>{escape(json.dumps(schema, indent=1))}</pre></details>"
        )
    yield _table(
        (status, answer["description"], _schema(answer))
        for status, answer in operation["responses"].items()
    )


def _schema(answer: dict[str, Any]) -> str:
    schema = answer["content"]["application/json"]["schema"]
    named = schema.get("anyOf", [schema.get("items", schema)])
    names = " or ".join(one["$ref"].rsplit("/", 1)[-1] for one in named)
    return f"list of {names}" if "items" in schema else names


def _table(rows: Any) -> str:
    cells = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _text(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
