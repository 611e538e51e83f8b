"""The bytes of a table -> its text: what it is encoded in, said by marks, by its bytes or by the language of its reports.

Text that is neither UTF-8 nor plainly Western is asked about, never guessed: every byte is a letter in some encoding.
"""

import codecs
import re

from sidelight.errors import DataError

BY_LANGUAGE = {
    **{"ja": "cp932", "zh": "gb18030", "ko": "cp949", "el": "cp1253", "tr": "cp1254", "he": "cp1255", "ar": "cp1256"},
    **dict.fromkeys(("ru", "uk", "be", "bg", "sr"), "cp1251"),
    **dict.fromkeys(("pl", "cs", "sk", "hu", "ro", "hr", "sl"), "cp1250"),
}
"""What tables in these languages were saved as before UTF-8."""
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_SELDOM = re.compile("[‚ƒ†‡ˆ‰‹•˜›Ÿ¤¦§¨¬\u00ad¯¶¸¹¼½¾]")
"""Signs of Windows-1252 that hardly stand in Western tables."""
_INSIDE = re.compile(r"(?<=[^\W\d_])[„”“†](?=[^\W\d_])|™(?=[^\W\d_])")
"""Signs of Windows-1252 that stand in no word: what the umlauts of MS-DOS look like in it."""
MOST_SELDOM, MOST_IN_RUNS = 0.2, 0.3
"""Of all signs beyond ASCII: those, and signs of which three or more follow each other."""


def decoded(data: bytes, name: str, encoding: str | None, language: str = "") -> str:
    """The text of a table.

    :param name: what errors call it.
    :param language: of its texts, such as "ja", where that is known.
    :raises DataError: where it is not encoded so, where nothing tells how, or where a few bytes break its UTF-8; names a line.
    """
    if encoding is not None:
        return _as_said(data, name, encoding)
    found = next((one for mark, one in _MARKS.items() if data.startswith(mark)), "")
    head = data[:400]
    if not found and head[1::2].count(0) > len(head) // 4:
        found = "utf-16-le"
    if not found and head[0::2].count(0) > len(head) // 4:
        found = "utf-16-be"
    for one in [found] if found else []:
        try:
            return data.decode(one)
        except UnicodeDecodeError:
            continue
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        broken = error.start
    loose = data.decode("utf-8", "surrogateescape")
    bad = sum("\udc80" <= sign <= "\udcff" for sign in loose)
    good = sum(sign > "\x7f" for sign in loose) - bad
    line = data.count(b"\n", 0, broken) + 1
    if good > bad:
        raise DataError(
            f"Line {line} of the table {name} is not UTF-8, while the rest of it is ({bad} of {bad + good} signs): two files "
            "may have been put together",
            do="Mend that line and save the table as UTF-8",
        )
    if language in BY_LANGUAGE:
        return _as_said(data, name, BY_LANGUAGE[language])
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        text = ""
    if text and _western(text):
        return text
    raise DataError(
        f"Line {line} of the table {name} is neither UTF-8 nor Western: its encoding is not known",
        do=f"State it beside the name of the table: encoding = {_proposal(data)}",
    )


def _as_said(data: bytes, name: str, encoding: str) -> str:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"The table {name} is not encoded in {encoding} (line {line})",
            do="Leave `encoding` out to have it detected",
        ) from None
    except (LookupError, UnicodeError):
        raise DataError(
            f"Unknown encoding {encoding!r} for {name}", expected="utf-8, cp1252, cp1251, cp932, utf-16, ..."
        ) from None


def _western(text: str) -> bool:
    """Whether what Windows-1252 makes of the bytes can be Western: its accents stand among plain letters."""
    if _INSIDE.search(text):
        return False
    signs = sum(sign > "\x7f" for sign in text)
    runs = re.findall(r"[^\x00-\x7f]{3,}", text)
    return len(_SELDOM.findall(text)) <= MOST_SELDOM * signs and sum(map(len, runs)) <= MOST_IN_RUNS * signs


def _proposal(data: bytes) -> str:
    """Encodings to try, the likeliest first: accents stand beside plain letters, letters of other scripts do not."""
    kinds = {
        "cp932": ("Japanese", "(?<![A-Za-z])[\u3040-\u30ff\u4e00-\u9fff](?![A-Za-z])"),
        "cp1251": ("Cyrillic", "(?<![A-Za-z])[а-яё](?![A-Za-z])"),
        "gb18030": ("Chinese", "(?<![A-Za-z])[\u4e00-\u9fff](?![A-Za-z])"),
        "cp850": ("MS-DOS", "(?<=[A-Za-z])[À-ÖØ-öø-ÿ]|[À-ÖØ-öø-ÿ](?=[A-Za-z])"),
    }
    shares = {}
    for one, (_, letters) in kinds.items():
        text = data.decode(one, "replace")
        shares[one] = len(re.findall(letters, text)) / max(sum(sign > "\x7f" for sign in text), 1)
    kana = len(re.findall("[\u3040-\u30ff]", data.decode("cp932", "replace"))) > 0.1 * len(
        data.decode("cp932", "replace")
    )
    order = sorted(kinds, key=lambda one: -shares[one] - (kana and one == "cp932"))
    return ", ".join(f'"{one}" ({kinds[one][0]})' for one in order) + ', or "cp1252" (Western)'
