"""The skeleton of every HTML page we write: one file, light and dark, nothing loaded from anywhere."""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --faint: #5b6670; --line: #d9dee3;
  --paper: #fff; --panel: #f5f7f9; --link: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8ebee; --faint: #9aa5af; --line: #3a424a; --paper: #14181c; --panel: #1d2328; --link: #56b4e9 }
}
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.45 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.4rem; margin: .3rem 0 }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
p { margin: .4rem 0 }
.faint { color: var(--faint) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
td.number, th.number { text-align: right; white-space: nowrap; overflow-wrap: normal }
img { max-width: 100% }
tr.ours td { background: var(--panel); font-weight: 600 }
figure { margin: .5rem 0 }
figcaption { color: var(--faint); font-size: .9rem }
.pictures, .thumbs { display: flex; flex-wrap: wrap; gap: 1rem }
.pictures figure { flex: 1 1 22rem; min-width: 0; max-width: 44rem }
.thumbs figure { width: 9rem }
.thumbs img { width: 100% }
footer { margin-top: 2rem; padding-top: .6rem; border-top: 1px solid var(--line);
  color: var(--faint); font-size: .85rem }
"""

# The browser itself refuses whatever the page might try to load or send.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


class Html(str):
    """Text that is HTML already; the functions below escape everything else."""


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """Return a whole HTML document.  title: plain text.  body: HTML.  style, script: added to the page's own."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}\n"
        + (f"<script>{script}</script>\n" if script else "")
        + "</body>\n</html>\n"
    )


def escape(text: object) -> str:
    """Return text as HTML, safe in elements and in quoted attributes."""
    return html.escape(str(text), quote=True)


def inline_image(data: bytes, kind: str = "jpeg") -> str:
    """Return a picture file's bytes as an address that an `img` takes.  kind: jpeg, png, svg+xml."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def inline_data(name: str, value: Any) -> str:
    """Return an element with the id `name` that holds `value` as JSON for a script; no text in it can end it."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def heading(text: str, level: int = 2) -> Html:
    """Return a heading."""
    return Html(f"<h{level}>{_html(text)}</h{level}>")


def paragraph(text: str, *, faint: bool = False) -> Html:
    """Return a paragraph.  faint: less prominent."""
    kind = ' class="faint"' if faint else ""
    return Html(f"<p{kind}>{_html(text)}</p>")


def bullets(lines: Iterable[str]) -> Html:
    """Return a list."""
    return Html("<ul>" + "".join(f"<li>{_html(line)}</li>" for line in lines) + "</ul>")


def table(
    headings: Sequence[str], rows: Iterable[Sequence[object]], *, words: int = 1, ours: Sequence[int] = ()
) -> Html:
    """Return a table that scrolls sideways on a phone.

    words: how many columns from the left are words; the others are numbers, set right.  Floats are shown with two
    decimals, None as a dash.  ours: indices of rows that stand out.
    """

    def cells(tag: str, values: Sequence[object]) -> str:
        kinds = ["" if at < words else ' class="number"' for at in range(len(values))]
        return "".join(
            f"<{tag}{kind}>{_html(_shown(value))}</{tag}>" for kind, value in zip(kinds, values, strict=True)
        )

    body = "".join(
        ('<tr class="ours">' if number in ours else "<tr>") + cells("td", row) + "</tr>\n"
        for number, row in enumerate(rows)
    )
    return Html(
        f'<div class="wide"><table>\n<thead><tr>{cells("th", headings)}</tr></thead>\n'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def figure(picture: bytes, alt: str, caption: str = "", kind: str = "png") -> Html:
    """Return a figure of a picture file's bytes.  alt: what it shows, in words.  kind: png, jpeg, svg+xml."""
    words = f"<figcaption>{_html(caption)}</figcaption>" if caption else ""
    return Html(f'<figure><img src="{inline_image(picture, kind)}" alt="{escape(alt)}">{words}</figure>')


def group(kind: str, parts: Iterable[str]) -> Html:
    """Return HTML parts side by side.  kind: `pictures` (large) or `thumbs` (small)."""
    return Html(f'<div class="{kind}">' + "\n".join(parts) + "</div>")


def _html(text: str) -> str:
    return text if isinstance(text, Html) else escape(text)


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if isinstance(value, float) else str(value)
