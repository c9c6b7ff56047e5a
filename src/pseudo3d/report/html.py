"""One self-contained HTML page: opens offline, without scripts, on a phone as on a desk."""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pseudo3d.errors import Pseudo3dError
from pseudo3d.report.files import save_bytes

_MIME = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
}

_STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: #fff; color: #222;
  font: 1rem/1.6 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.8rem; line-height: 1.25; margin: 0 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid #ddd; }
p { max-width: 46rem; margin: .6rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; color: #444; }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.card { flex: 1 1 9rem; padding: .75rem 1rem; border: 1px solid #ddd; border-radius: .5rem; }
.card b { display: block; font-size: 1.7rem; line-height: 1.3; color: #0072b2; }
figure { margin: 1rem 0; }
figure img, figure video { display: block; max-width: 100%; height: auto; }
figcaption, caption { color: #555; font-size: .9rem; text-align: left; padding: .25rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid #e5e5e5; }
th { font-weight: 600; border-bottom: 2px solid #bbb; }
.number { text-align: right; }
pre { overflow-x: auto; padding: .75rem 1rem; background: #f6f6f6; border-radius: .5rem;
  font: .875rem/1.5 ui-monospace, Consolas, monospace; }
footer { margin-top: 3rem; color: #666; font-size: .85rem; }
"""


@dataclass(frozen=True)
class Table:
    """Rows under a header; floats are shown with one digit, numbers stand at the right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | int | float]]
    caption: str = ""


@dataclass(frozen=True)
class Media:
    """A picture or video to embed: .png .jpg .gif .mp4 .webm; `caption` is also its alt text."""

    path: str | Path
    caption: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """One part of a page, in this order: title, text, cards, media, tables, code."""

    title: str
    text: str = ""  # plain; an empty line starts a paragraph
    cards: Sequence[tuple[str, str]] = ()  # big figure and what it is
    media: Sequence[Media] = ()
    tables: Sequence[Table] = ()
    code: str = ""  # shown as it is


def _paragraphs(text: str) -> list[str]:
    parts = [" ".join(part.split()) for part in text.split("\n\n")]
    return [f"<p>{escape(part)}</p>" for part in parts if part]


def _cards(cards: Sequence[tuple[str, str]]) -> list[str]:
    if not cards:
        return []
    inner = [f'<div class="card"><b>{escape(v)}</b>{escape(n)}</div>' for v, n in cards]
    return ['<div class="cards">', *inner, "</div>"]


def _media(media: Media) -> list[str]:
    path = Path(media.path)
    kind = _MIME.get(path.suffix.lower())
    if kind is None:
        known = " ".join(_MIME)
        raise Pseudo3dError(f"{path} cannot be embedded: suffix {path.suffix!r}, wanted {known}")
    try:
        data = b64encode(path.read_bytes()).decode("ascii")
    except OSError as err:
        raise Pseudo3dError(f"{path} cannot be embedded: {err.strerror or err}") from err
    text, source = escape(media.caption), f"data:{kind};base64,{data}"
    if kind.startswith("image/"):
        body = f'<img alt="{text}" src="{source}">'
    else:
        body = f'<video controls loop muted playsinline aria-label="{text}" src="{source}"></video>'
    return ["<figure>", body, *([f"<figcaption>{text}</figcaption>"] if text else []), "</figure>"]


def _cell(tag: str, value: str | int | float) -> str:
    shown = f"{value:.1f}" if isinstance(value, float) else str(value)
    style = "" if isinstance(value, str) else ' class="number"'
    return f"<{tag}{style}>{escape(shown)}</{tag}>"


def _table(table: Table) -> list[str]:
    wrong = [row for row in table.rows if len(row) != len(table.header)]
    if wrong:
        raise ValueError(f"table row {wrong[0]!r}: wanted {len(table.header)} cells")
    lines = ['<div class="wide"><table>']
    if table.caption:
        lines.append(f"<caption>{escape(table.caption)}</caption>")
    head = "".join(_cell("th", name) for name in table.header)
    lines.append(f"<thead><tr>{head}</tr></thead><tbody>")
    lines += ["<tr>" + "".join(_cell("td", v) for v in row) + "</tr>" for row in table.rows]
    return [*lines, "</tbody></table></div>"]


def _section(section: Section) -> list[str]:
    lines = ["<section>", f"<h2>{escape(section.title)}</h2>", *_paragraphs(section.text)]
    lines += _cards(section.cards)
    for media in section.media:
        lines += _media(media)
    for table in section.tables:
        lines += _table(table)
    if section.code:
        lines.append(f"<pre>{escape(section.code)}</pre>")
    return [*lines, "</section>"]


def write_page(
    path: str | Path, title: str, sections: Sequence[Section], lead: str = "", footer: str = ""
) -> Path:
    """Write one HTML file with everything in it; text is escaped, so any label is safe.

    Args:
        lead: first sentences, before all sections.
        footer: small print at the end.
    Raises:
        Pseudo3dError: a picture or video is missing or of an unknown kind, or the disk refuses.
        ValueError: a table row is longer or shorter than its header.
    """
    lines = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *(f'<p class="lead">{p[3:]}' for p in _paragraphs(lead)),
    ]
    for section in sections:
        lines += _section(section)
    if footer:
        lines.append(f"<footer>{''.join(_paragraphs(footer))}</footer>")
    lines.append("</body></html>\n")
    return save_bytes(path, "\n".join(lines).encode("utf-8"))
