"""A page set once: sections of text, tables, figures -> one HTML file, or a Markdown page with figures and tables beside it."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import numpy as np
import pandas as pd

from sidelight.data.cells import counted
from sidelight.files import write_csv, write_text
from sidelight.reporting import html
from sidelight.reporting.tables import Table, plain

LINES = 300
"""The most lines of a Markdown page: tables that would make it longer are cut, and its files hold the rest."""


@dataclass(frozen=True)
class Text:
    """A paragraph in which ``**bold**`` and ```code``` are set; or a heading, a warning, or a word on what is not there."""

    text: str
    kind: Literal["plain", "heading", "note", "empty"] = "plain"


@dataclass(frozen=True)
class Listing:
    """A bulleted list of texts."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """Drawings or pictures: ``html``, or what draws it; on a Markdown page the PNG that ``save`` writes, or else nothing."""

    html: str | Callable[[], str]
    name: str = ""
    text: str = ""
    save: Callable[[Path], object] | None = None


@dataclass(frozen=True)
class Detail:
    """What only some readers open: folded in HTML, left out of a Markdown page."""

    summary: str
    parts: "Sequence[Part]"


Part = Text | Listing | Table | Figure | Detail


@dataclass(frozen=True)
class Section:
    """Parts under a heading; without a part that shows something it is left out. ``only`` in one of the two forms, if set; what
    is ``main`` is cut last where a page is too long.
    """

    title: str
    parts: Sequence[Part]
    intro: str = ""
    only: Literal["", "html", "markdown"] = ""
    main: bool = False


@dataclass(frozen=True)
class Document:
    """A whole page. ``opening`` stands before the links to ``sections``; ``files`` are tables by name, written as
    ``PAGE/NAME.csv`` beside a Markdown page, and ``command`` is what makes the numbers.
    """

    title: str
    sections: Sequence[Section]
    lead: str = ""
    facts: Sequence[str] = ()
    opening: Section | None = None
    files: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    command: str = ""


def under(title: str, *parts: Part) -> list[Part]:
    """``parts`` under a small heading; nothing where none of them shows anything."""
    return [Text(title, "heading"), *parts] if any(map(_shows, parts)) else []


def _shows(part: Part) -> bool:
    match part:
        case Table():
            return bool(part.rows)
        case Figure():
            return bool(part.html or part.save)
        case Listing():
            return bool(part.lines)
        case Detail():
            return any(map(_shows, part.parts))
    return True


def picture_row(images: Sequence[np.ndarray], captions: Sequence[str], *, height: int, said: str = "") -> Figure:
    """Images, each uint8 [H,W,3], side by side and ``height`` pixels high, with a caption under each and ``said`` above.

    Markdown has neither.
    """
    figures = "".join(
        f'<figure class="small"><img src="{html.picture(np.moveaxis(image, -1, 0), side=2 * height)}" '
        f'height="{height}" alt="" loading="lazy"><figcaption>{html.escape(caption)}</figcaption></figure>'
        for image, caption in zip(images, captions, strict=True)
    )
    above = f"<p>{html.escape(said)}</p>" if said else ""
    return Figure(f'{above}<div class="pictures strip">{figures}</div>')


def write(document: Document, out: Path, *, private: bool = False) -> Path:
    """Write a page: Markdown where ``out`` ends in ``.md``, else HTML; returns ``out``.

    :param private: readable by its owner only.
    """
    text = _markdown_page(document, out) if out.suffix == ".md" else _html_page(document)
    return write_text(out, text, private=private)


def _html_page(document: Document) -> str:
    opening, *sections = [
        html.section(one.title, *map(_html, one.parts), intro=one.intro) if one and one.only != "markdown" else ""
        for one in (document.opening, *document.sections)
    ]
    sections = [text for text in sections if text]
    body = "\n".join([opening, html.contents(sections), *sections])
    return html.page(document.title, body, lead=document.lead, facts=list(document.facts))


def _html(part: Part) -> str:
    match part:
        case Table():
            return part.html()
        case Figure():
            return part.html if isinstance(part.html, str) else part.html()
        case Listing():
            return html.listing(list(part.lines))
        case Detail():
            inside = "".join(map(_html, part.parts))
            return html.details(part.summary, inside) if inside else ""
    match part.kind:
        case "heading":
            return f"<h3>{html.escape(part.text)}</h3>"
        case "plain":
            return f"<p>{html.inline(part.text)}</p>"
    return html.note(part.text) if part.kind == "note" else html.empty(part.text)


def _markdown_page(document: Document, out: Path) -> str:
    """The page's text; its figures and files are written on the way. The same document gives the same bytes."""
    sections = [one for one in (document.opening, *document.sections) if one and one.only != "html"]
    for one in (part for section in sections for part in section.parts):
        if isinstance(one, Figure) and one.save:
            one.save(out.parent / _picture(one, out))
    links = []
    for name, frame in document.files.items():
        path = out.with_suffix("") / f"{name}.csv"
        write_csv(path, frame, float_format="%.6g")
        links.append(f"- [{name.replace('-', ' ')}]({quote(out.stem)}/{path.name}): {counted(len(frame), 'row')}")
    head = [f"# {plain(document.title)}", plain(document.lead), plain(" · ".join(document.facts))]
    foot = ["## Tables", "\n".join(links)] if links else []
    again = f"`sidelight report FOLDER --out {shlex.quote(out.name)}`"
    made = f"The numbers are made by `{document.command}`, this page and its tables" if document.command else "Made"
    foot.append(f"{made} by {again}; do not edit it by hand.")
    text = ""
    for most in (50, 25, 12, 6, 3, 1):
        body = [text for one in sections for text in _markdown_section(one, out, 8 * most if one.main else most)]
        text = "\n\n".join(text for text in [*head, *body, *foot] if text) + "\n"
        if text.count("\n") <= LINES:
            break
    return text


def _markdown_section(section: Section, out: Path, most: int) -> list[str]:
    parts = [text for part in section.parts[: 2 * most] if (text := _markdown(part, out, most))]
    if any(map(_shows, section.parts[2 * most :])):
        parts.append("The rest of this section stands in the HTML report and in the tables beside this page.")
    return [f"## {plain(section.title)}", plain(section.intro), *parts] if parts else []


def _markdown(part: Part, out: Path, most: int) -> str:
    match part:
        case Table():
            left = len(part.rows) - most
            rest = f"\n\n{left:,} more rows stand in the tables beside this page." if left > 0 else ""
            return replace(part, rows=part.rows[:most]).markdown() + rest
        case Figure():
            return f"![{plain(part.text)}]({_picture(part, out)})" if part.save else ""
        case Listing():
            left = len(part.lines) - most
            lines = [*part.lines[:most], *([f"{left:,} more stand in the HTML report."] if left > 0 else [])]
            return "\n".join(f"- {plain(line)}" for line in lines)
        case Detail():
            return ""
    return ("### " if part.kind == "heading" else "") + plain(part.text)


def _picture(figure: Figure, out: Path) -> str:
    """Where a figure lies, seen from the page."""
    return f"figures/{html.slug(out.stem)}-{figure.name}.png"
