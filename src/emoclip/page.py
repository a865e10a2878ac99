"""Self-contained HTML pages: one file, light and dark, readable on a phone, nothing fetched from anywhere."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

_STYLE = """
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --line: #d0d7de; --back: #ffffff;
  --tint: #f3f5f7; --mark: #0969da; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --soft: #9aa4af; --line: #3a424c;
  --back: #0f1318; --tint: #1a2027; --mark: #6cb6ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; color: var(--text); background: var(--back);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.25rem 0 .25rem; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; white-space: nowrap; }
tr.ours td { background: var(--tint); font-weight: 600; }
figure { margin: .5rem 0; } figure img, figure svg { max-width: 100%; height: auto; border-radius: 4px; }
.pictures { display: flex; flex-wrap: wrap; gap: 1rem; }
.pictures figure { flex: 1 1 20rem; min-width: 0; }
.thumbs { display: flex; flex-wrap: wrap; gap: .75rem; }
.thumbs figure { width: 9rem; } .thumbs img { width: 100%; }
code { background: var(--tint); padding: .1rem .3rem; border-radius: 3px; }
"""


class Html(str):
    """Text that is HTML already; everything else put into a page is escaped."""


def page(title: str, parts: Iterable[str], *, style: str = "", script: str = "") -> str:
    """Return a whole page.  title: plain text.  parts: HTML.  style, script: CSS and JavaScript of this page alone.

    Its content policy forbids every request, so nothing that it shows can leave the machine.
    """
    policy = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    if script:
        policy += "; script-src 'unsafe-inline'"
    scripts = f"<script>{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}{style}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + f"\n{scripts}</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> Html:
    """Return a heading of plain text."""
    return Html(f"<h{level}>{escape(text)}</h{level}>")


def paragraph(text: str, *, soft: bool = False) -> Html:
    """Return a paragraph; plain text is escaped.  soft: less prominent."""
    kind = ' class="soft"' if soft else ""
    return Html(f"<p{kind}>{html(text)}</p>")


def bullets(lines: Iterable[str]) -> Html:
    """Return a list; plain text is escaped."""
    return Html("<ul>" + "".join(f"<li>{html(line)}</li>" for line in lines) + "</ul>")


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text_columns: int = 1,
    ours: Sequence[int] = (),
) -> Html:
    """Return a table that scrolls sideways on a phone.

    text_columns: how many columns from the left are words; the others are numbers, set right.  Floats are shown with
    two decimals, None as a dash.  ours: indices of rows that stand out.
    """

    def cell(tag: str, at: int, value: object) -> str:
        kind = "" if at < text_columns else ' class="number"'
        return f"<{tag}{kind}>{html(_shown(value))}</{tag}>"

    head = "".join(cell("th", at, name) for at, name in enumerate(headings))
    body = "".join(
        ('<tr class="ours">' if number in ours else "<tr>")
        + "".join(cell("td", at, value) for at, value in enumerate(row))
        + "</tr>\n"
        for number, row in enumerate(rows)
    )
    return Html(
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'
    )


def figure(image: bytes | str, alt: str, caption: str = "") -> Html:
    """Return a figure.  image: PNG or JPEG bytes, or an SVG element as text.  alt: what it shows, in words."""
    if isinstance(image, str):
        inner = image
    else:
        kind = "png" if image.startswith(b"\x89PNG") else "jpeg"
        data = base64.b64encode(image).decode("ascii")
        inner = f'<img src="data:image/{kind};base64,{data}" alt="{escape(alt, quote=True)}">'
    words = f"<figcaption>{html(caption)}</figcaption>" if caption else ""
    return Html(f"<figure>{inner}{words}</figure>")


def group(kind: str, parts: Iterable[str]) -> Html:
    """Return parts side by side.  kind: `pictures` (large) or `thumbs` (small)."""
    return Html(f'<div class="{kind}">' + "\n".join(parts) + "</div>")


def html(text: str) -> str:
    """Escape plain text; leave `Html` as it is."""
    return text if isinstance(text, Html) else escape(text)


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if isinstance(value, float) else str(value)
