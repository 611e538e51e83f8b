"""Text to sentences, by language: a few rules, or spaCy or Stanza where they are installed."""

import re
from functools import lru_cache
from typing import Any, Literal

from sidelight.errors import ConfigError, MissingExtra

Splitter = Literal["rules", "spacy", "stanza"]

ABBREVIATIONS = {
    "en": "approx|ca|cf|cm|dr|dx|e.g|esp|etc|fig|figs|hr|hrs|hx|i.e|incl|max|min|mm|mr|mrs|ms|mt|no|p.o|prof|pt|pts|resp|rt|st"
    "|vs|w.r.t",
    "de": "abb|allg|bds|bzgl|bzw|ca|cm|d.h|dr|evtl|fr|ggf|hr|i.b|i.d.r|i.m|i.r|i.s|i.v|inkl|klin|lat|li|max|med|min|mm|n|nr|o.ä"
    "|o.g|pat|prof|re|rez|s.o|s.u|sog|st|str|u.a|u.u|v.a|vgl|vs|z.b|z.n|z.t|zw",
    "ja": "",
}
"""Words whose full stop ends no sentence; single letters never do."""

_MARKER = r"(?:[-–•*·・▪]\s*|\(?\d{1,2}[.)．）]\s*|[①-⑳]\s*)"
_ITEM = re.compile(rf"^\s*{_MARKER}(?=\S)")
_ENUMERATED = re.compile(r"(?:(?<=[.!?;:])\s+|^\s*)\(?\d{1,2}[.)]\s+(?=[^\W\d_])")
_END = re.compile(
    r"(?<![.!?])[.!?]++[\"'”’)\]]*+(?=\s)"
)  # never looks twice at a sign: a text may be a megabyte of dots
_JAPANESE_END = re.compile(r"(?<=[。！？])[」』）]*")
_BLANKS = re.compile(r"\s+")
_OPENS = re.compile(r"[\"'“‘(\[]*[^\W_]|[\"'“‘(\[]*_")


def split_sentences(text: str, language: str = "en", splitter: Splitter = "rules") -> list[str]:
    """The sentences of ``text`` in order, blanks collapsed, list markers taken off, without those that hold no letter.

    A line break ends a sentence only before a blank line or a list item: reports are wrapped. De-identification marks
    (``___``) stay.

    :param language: "en", "de", "ja", or any other, for which the general rules hold without abbreviations.
    :param splitter: "spacy" uses ``spacy.blank`` with its sentencizer, "stanza" its tokenizer (whose model is loaded from the
        local folder, never fetched).
    :raises MissingExtra: for a splitter that is not installed.
    """
    found: list[str] = []
    for block in _blocks(text):
        if splitter != "rules":
            found += _foreign(block, language, splitter)
        elif language == "ja":
            found += _JAPANESE_END.split(block)
        else:
            found += _by_rules(block, language)
    tidy = (re.sub(r"\s+", " ", _ITEM.sub("", one)).strip() for one in found)
    return [one for one in tidy if re.search(r"[^\W\d_]", one)]


def _blocks(text: str) -> list[str]:
    """Paragraphs and list items, each on one line."""
    blocks: list[list[str]] = [[]]
    for line in text.splitlines():
        if not line.strip() or _ITEM.match(line):
            blocks.append([])
        blocks[-1].append(line.strip())
    return [" ".join(block).strip() for block in blocks if any(block)]


def _by_rules(block: str, language: str) -> list[str]:
    """One paragraph; a number such as ``2.`` that begins a list item within it ends the item before."""
    sentences: list[str] = []
    for part in _ENUMERATED.split(block):
        start = 0
        for end in _END.finditer(part):
            if _ends(part, end, language):
                sentences.append(part[start : end.end()])
                start = end.end()
        sentences.append(part[start:])
    return sentences


def _ends(text: str, end: re.Match[str], language: str) -> bool:
    """Whether the mark ends a sentence: not after an abbreviation, an initial or a German ordinal, nor before a small letter."""
    after = _BLANKS.match(text, end.end())
    place = after.end() if after else end.end()
    if not _OPENS.match(text, place) or text[place].islower():
        return False
    if end[0][0] != ".":
        return True
    first = end.start()
    while first and not (text[first - 1].isspace() or text[first - 1] in "(["):
        first -= 1
    word = text[first : end.start()]
    if re.fullmatch(r"[^\W\d_]", word) or re.fullmatch(_abbreviations(language), word.lower()):
        return False
    return not (language == "de" and word.isdecimal() and len(word) < 3)


def _abbreviations(language: str) -> str:
    return ABBREVIATIONS.get(language, "").replace(".", r"\.") or r"(?!)"


def _foreign(block: str, language: str, splitter: str) -> list[str]:
    pipeline = _pipeline(language, splitter)
    if splitter == "spacy":
        return [str(sentence.text) for sentence in pipeline(block).sents]
    return [str(sentence.text) for sentence in pipeline(block).sentences]


@lru_cache(maxsize=4)
def _pipeline(language: str, splitter: str) -> Any:
    """spaCy's or Stanza's pipeline; :raises MissingExtra: where it is not installed."""
    try:
        if splitter == "spacy":
            import spacy

            pipeline = spacy.blank(language)
            pipeline.add_pipe("sentencizer")
            return pipeline
        import stanza

        return stanza.Pipeline(language, processors="tokenize", download_method=None, use_gpu=False, verbose=False)
    except ImportError:
        raise MissingExtra(splitter, splitter, f"splitter = {splitter!r}") from None
    except Exception as error:  # each has its own for a language or model that it lacks
        raise ConfigError(
            f"splitter = {splitter!r} cannot be used for {language!r}: {error}", do="Install its model, or use rules"
        ) from None
