"""The skeleton of a report: one HTML file with its style inside; no script, no network, light, dark and print."""

import base64
import re
from html import escape as _escape
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

STYLE = Path(__file__).with_name("style.css")


def escape(text: object) -> str:
    """``text`` as HTML text, safe inside elements and quoted attributes."""
    return _escape(str(text), quote=True)


def inline(text: object) -> str:
    """Escaped text in which ``**bold**`` and ```code``` are set."""
    safe = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", escape(text))
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", safe)


def page(title: str, body: str, *, lead: str = "", facts: list[str] | None = None) -> str:
    """A whole document: ``body`` is HTML, the rest is text."""
    line = "".join(f"<span>{escape(fact)}</span>" for fact in facts or [])
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>\n<header><h1>{escape(title)}</h1>\n"
        + (f'<p class="question">{inline(lead)}</p>\n' if lead else "")
        + (f'<p class="facts">{line}</p>\n' if line else "")
        + f"</header>\n{body}\n<footer>Made by sidelight. One file, no network.</footer>\n</main></body></html>\n"
    )


def section(title: str, *parts: str, intro: str = "") -> str:
    """One card of the page; "" when it has no parts."""
    inside = "\n".join(part for part in parts if part)
    if not inside:
        return ""
    text = f"<p>{inline(intro)}</p>\n" if intro else ""
    return f'<section id="{slug(title)}"><h2>{escape(title)}</h2>\n{text}{inside}\n</section>'


def contents(sections: list[str]) -> str:
    """Links to the sections that are there."""
    found = [re.match(r'<section id="([^"]+)"><h2>(.*?)</h2>', text) for text in sections]
    return "<nav>" + "".join(f'<a href="#{hit[1]}">{hit[2]}</a>' for hit in found if hit) + "</nav>"


def slug(text: str) -> str:
    """``"Published numbers"`` -> ``"published-numbers"``; never empty."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


def listing(lines: list[str]) -> str:
    """A bulleted list of inline texts; "" when empty."""
    return "<ul>" + "".join(f"<li>{inline(line)}</li>" for line in lines) + "</ul>" if lines else ""


def empty(text: str) -> str:
    """A sentence in place of what is not there."""
    return f'<p class="empty">{inline(text)}</p>'


def note(text: str) -> str:
    """A warning that should be seen."""
    return f'<p class="note">{inline(text)}</p>'


def details(summary: str, inside: str) -> str:
    """What only some readers open; printed in full."""
    return f"<details><summary>{escape(summary)}</summary>\n{inside}\n</details>"


def picture(image: np.ndarray, *, side: int = 128) -> str:
    """A uint8 image [C,H,W] as a JPEG data URI at most ``side`` pixels high."""
    pixels = image[0] if image.shape[0] == 1 else np.moveaxis(image, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1).astype(np.uint8)
    shown = Image.fromarray(np.ascontiguousarray(pixels))
    if shown.height > side:
        shown = shown.resize((max(1, round(shown.width * side / shown.height)), side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    shown.save(buffer, format="JPEG", quality=88)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
