"""What a cell of a yes-or-no column says: yes, no, uncertain, unknown, or nothing that is understood.

What is not understood is never taken for no: whoever asks names it with its count, and stops.
"""

from collections.abc import Iterable

from sidelight.data.cells import plain

YES = (
    *("1", "true", "t", "yes", "y", "x", "positive", "pos", "present", "+", "++", "+++", "✓", "✔", "☑"),
    *("ja", "j", "positiv", "vorhanden", "oui", "si", "sim", "да", "есть", "положительный", "はい", "あり", "陽性"),
    *("有", "是", "阳性"),
)
NO = (
    *("0", "false", "f", "no", "n", "negative", "neg", "absent", "none", "not present"),
    *("nein", "negativ", "kein", "keine", "nicht vorhanden", "non", "nao", "нет", "отрицательный", "いいえ", "なし"),
    *("陰性", "無", "无", "否", "阴性"),
)
UNCERTAIN = (
    *("-1", "uncertain", "unsure", "unclear", "possible", "possibly", "equivocal", "indeterminate", "maybe"),
    *("unklar", "unsicher", "fraglich", "möglich", "vielleicht", "возможно", "сомнительно", "疑い"),
)
UNKNOWN = (
    *("unbekannt", "unknown", "unk", "n/a", "na", "n.a", "nan", "null", "nd", "k.a", "ka", "keine angabe"),
    *("nicht bekannt", "nicht erhoben", "not available", "not known", "missing", "fehlt", "todo", "tbd"),
    *("-", "--", "?", "??", "#n/a", "неизвестно", "нет данных", "不明", "未知"),
)
"""How cells say that nothing is known."""


def bare(value: str) -> str:
    """``"Neg. "`` -> ``"neg"``: lower case, without accents, blanks around it and the full stop of an abbreviation."""
    text = plain(value).strip()
    return text.rstrip(".:").rstrip() or text


_WORDS = {
    bare(word): said
    for said, words in (("unknown", UNKNOWN), ("uncertain", UNCERTAIN), ("no", NO), ("yes", YES))
    for word in words
}


def is_unknown(value: str) -> bool:
    """Whether a cell says in words that nothing is known."""
    return _WORDS.get(bare(value)) == "unknown"


def meanings(values: Iterable[str]) -> dict[str, str]:
    """Each of the different values of a column -> "yes", "no", "uncertain", "unknown", or "" for what is not understood.

    Blank is unknown. A dash says no beside a plus, and that nothing is known beside another no; else it is not understood.
    """
    found = {value: _WORDS.get(bare(value), "") if value else "unknown" for value in values}
    dashes = [value for value in found if bare(value) in ("-", "--")]
    if any(bare(value).startswith("+") for value in found):
        return found | dict.fromkeys(dashes, "no")
    return found if "no" in found.values() else found | dict.fromkeys(dashes, "")
