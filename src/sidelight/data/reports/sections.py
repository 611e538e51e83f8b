"""A report's sections: which headers begin the findings and the impression, by language."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from sidelight.errors import ConfigError, nearest


@dataclass(frozen=True)
class Headers:
    """Headers of a language in small letters, and parts that make any header one of the findings."""

    findings: tuple[str, ...]
    impression: tuple[str, ...]
    other: tuple[str, ...]
    views: tuple[str, ...] = ()


HEADERS = {
    "en": Headers(
        ("findings", "finding", "reference findings"),
        ("impression", "conclusion", "conclusions", "opinion", "findings and impression", "findings/impression"),
        (
            *("history", "clinical history", "patient history", "clinical information", "clinical indication"),
            *("indication", "reason for exam", "reason for examination", "technique", "comparison", "comparisons"),
            *("examination", "exam", "type of examination", "recommendation", "recommendations", "recommendation(s)"),
            *("notification", "addendum", "wet read", "comment", "date", "procedure"),
        ),
        # a radiograph's report may begin its findings with what was taken, as MIMIC-CXR's do
        (
            *("chest", "portable", "pa and lat", "lateral and pa", "ap and lat", "lateral and ap", "frontal and"),
            *("two views", "one view", "frontal view", "pa view", "ap view", "lateral view", "frontal upright"),
            *("frontal semi-upright", "bone window", "ribs"),
        ),
    ),
    "de": Headers(
        ("befund", "befunde", "röntgenbefund", "radiologischer befund", "befundbeschreibung"),
        ("beurteilung", "zusammenfassung", "zusammenfassende beurteilung", "fazit", "befund und beurteilung"),
        (
            *("anamnese", "klinik", "klinische angaben", "indikation", "rechtfertigende indikation", "fragestellung"),
            *("technik", "methode", "untersuchung", "untersuchungstechnik", "vergleich", "voraufnahmen"),
            *("voruntersuchung", "voruntersuchungen", "empfehlung", "procedere", "nachtrag", "kommentar", "datum"),
        ),
    ),
    "ja": Headers(
        ("所見", "画像所見", "読影所見", "胸部所見"),
        ("診断", "画像診断", "印象", "結論", "総合診断", "まとめ", "インプレッション"),
        (
            *(
                "検査目的",
                "依頼内容",
                "臨床情報",
                "臨床診断",
                "主訴",
                "既往歴",
                "現病歴",
                "検査方法",
                "撮影方法",
                "検査部位",
            ),
            *("比較", "比較画像", "推奨", "コメント", "備考"),
        ),
    ),
}
"""A further language is one entry here, or ``[report] findings`` and ``impression`` in the cohort file."""

_LINE = re.compile(
    r"^[ \t]*+[【\[■●◆＜<]?[ \t]*+(?P<name>[^\W\d_][^:：\n】\]＞>]{0,60}?)[ \t]*(?:[】\]＞>][ \t]*[:：]?|[:：]|$)", re.M
)
_CAPITALS = re.compile(r"[^\W\d_a-z][^\W\d_a-z ()/,\-]*(?:[ ()/,\-]+[^\W\d_a-z]+)*[ ()/,\-]*")


def read_sections(
    text: str, language: str = "en", *, findings: Sequence[str] = (), impression: Sequence[str] = ()
) -> dict[str, str]:
    """The text of "findings" and of "impression" in a report, as far as it has them and they are not blank.

    A header begins a line and ends with a colon, stands in brackets, or fills its line. It is one of the language's, in any
    capitals, or any text in capitals before a colon, which ends the section before it; slips of the pen (MPRESSION) are forgiven.
    Of two sections of one name the last counts.

    :param findings: further headers of the findings; ``impression`` of the impression.
    :raises ConfigError: for a language without headers, unless some are given.
    """
    known = _headers(language, findings, impression)
    marks = [(name, place) for place in _LINE.finditer(text) if (name := _name(place, known)) is not None]
    ends = [*(place.start() for _, place in marks), len(text)][1:]
    found = {name: text[place.end() : end].strip() for (name, place), end in zip(marks, ends, strict=True)}
    return {name: found[name] for name in ("findings", "impression") if found.get(name)}


def _headers(language: str, findings: Sequence[str], impression: Sequence[str]) -> Headers:
    base = HEADERS.get(language)
    if base is None and not (findings or impression):
        raise ConfigError(
            f"The language {language!r} has no headers of reports ({nearest(language, HEADERS)})",
            do="Name them: [report] findings = [...] and impression = [...]",
        )
    base = base or Headers((), (), ())
    more = [tuple(name.strip().casefold() for name in names) for names in (findings, impression)]
    return Headers(more[0] + base.findings, more[1] + base.impression, base.other, base.views)


def _name(place: re.Match[str], known: Headers) -> str | None:
    """The section "findings", "impression" or "other" for a header, None for a line that is none."""
    written = place["name"].strip()
    name = re.sub(r"\s+", " ", written.casefold())
    kinds: list[tuple[str, tuple[str, ...]]] = [("findings", known.findings), ("impression", known.impression)]
    kinds.append(("other", known.other))
    for kind, names in kinds:
        if name in names:
            return kind
    if len(written) < 3 or not _CAPITALS.fullmatch(written) or place[0].rstrip()[-1:] not in ":：":
        return None
    for kind, names in reversed(kinds[:2]):  # "FINDINGS AND IMPRESSIONS" is an impression
        if any(one in name for one in names if len(one) > 5):
            return kind
    if any(one in name for one in known.other if len(one) > 5):
        return "other"
    close = get_close_matches(name, [one for _, names in kinds for one in names], n=1, cutoff=0.8)
    for kind, names in kinds:
        if close and close[0] in names:
            return kind
    return "findings" if any(part in name for part in known.views) else "other"
