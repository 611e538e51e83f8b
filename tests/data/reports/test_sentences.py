"""Sentences by language: enumerations, abbreviations, de-identification marks, wrapped lines."""

import importlib.util
import time

import pytest

from sidelight.data.reports.sections import read_sections
from sidelight.data.reports.sentences import split_sentences
from sidelight.errors import MissingExtra

ENGLISH = [
    ("Heart size is normal. No effusion.", ["Heart size is normal.", "No effusion."]),
    ("The lungs are\nclear without\nconsolidation. Stable.", ["The lungs are clear without consolidation.", "Stable."]),
    ("Nodule of 3.2 cm. in the right lobe. Dr. Smith was told.", ["Nodule of 3.2 cm. in the right lobe.", "Dr. Smith was told."]),
    ("As compared to ___, no change. ___ was notified at 3 p.m. by phone.",
     ["As compared to ___, no change.", "___ was notified at 3 p.m. by phone."]),
    ("1. Cardiomegaly. 2. No pneumothorax.", ["Cardiomegaly.", "No pneumothorax."]),
    ("1.  Cardiomegaly\n2.  Effusion,\n    stable.\n- Old scar", ["Cardiomegaly", "Effusion, stable.", "Old scar"]),
    ("Is there a nodule? Yes! \"Stable.\" Vs. prior: none.", ["Is there a nodule?", "Yes!", '"Stable."', "Vs. prior: none."]),
    ("Tube of A. Miller ends e.g. 3 cm above.", ["Tube of A. Miller ends e.g. 3 cm above."]),
    ("Normal", ["Normal"]),
    ("", []),
    (" . \n\n 1. \n ___ ", []),
]  # fmt: skip
GERMAN = [
    ("Kein Erguss. Herz normal groß.", ["Kein Erguss.", "Herz normal groß."]),
    ("Fraktur der 3. Rippe li. und z.B. der 4. Rippe. Ca. 2 cm großer Herd.",
     ["Fraktur der 3. Rippe li. und z.B. der 4. Rippe.", "Ca. 2 cm großer Herd."]),
    ("Voraufnahme vom 12.03. Ödem bds. ohne Erguss.", ["Voraufnahme vom 12.03.", "Ödem bds. ohne Erguss."]),
    ("1. Stauung\n2. Kein Pneumothorax", ["Stauung", "Kein Pneumothorax"]),
    ("Dr. Müller informiert. Übrige Lunge frei.", ["Dr. Müller informiert.", "Übrige Lunge frei."]),
]  # fmt: skip
JAPANESE = [
    ("両肺野に異常陰影を認めません。心拡大なし。", ["両肺野に異常陰影を認めません。", "心拡大なし。"]),
    ("①右上葉に結節あり。\n②胸水なし", ["右上葉に結節あり。", "胸水なし"]),
    ("1. 肺炎の疑い。\n・前回と著変なし", ["肺炎の疑い。", "前回と著変なし"]),
]


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [(language, *case) for language, cases in (("en", ENGLISH), ("de", GERMAN), ("ja", JAPANESE)) for case in cases],
)
def test_rules(language, text, wanted):
    assert split_sentences(text, language) == wanted


def test_five_thousand_words_keep_every_word():
    words = [f"word{n}" if n % 11 else f"word{n}." for n in range(5000)]
    text = " ".join(word.capitalize() for word in words)
    found = split_sentences(text)
    assert 400 < len(found) < 500
    assert " ".join(found) == text


def test_a_language_without_rules_of_its_own_is_split_by_the_general_ones():
    assert split_sentences("Pas d'épanchement. Coeur normal.", "fr") == ["Pas d'épanchement.", "Coeur normal."]


@pytest.mark.parametrize("splitter", ["spacy", "stanza"])
def test_a_splitter_that_is_not_there_says_so(splitter):
    if importlib.util.find_spec(splitter):
        pytest.skip(f"{splitter} is installed")
    with pytest.raises(MissingExtra, match=splitter):
        split_sentences("No effusion.", "en", splitter)


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("en", "No effusion. Heart is normal.", ["No effusion.", "Heart is normal."]),
        ("de", "Kein Erguss. Herz normal groß.", ["Kein Erguss.", "Herz normal groß."]),
    ],
)
def test_spacy_where_it_is_installed(language, text, wanted):
    pytest.importorskip("spacy", reason="spaCy is not installed: pip install 'sidelight[spacy]'")
    assert split_sentences(text, language, "spacy") == wanted
    assert (
        split_sentences("1. " + text.replace(". ", ".\n2. "), language, "spacy") == wanted
    )  # list items are split before


@pytest.mark.parametrize(
    "piece",
    ["ab. ", ".", ". ", "a", " ", "...)) ", "1. ", "(", "Dr. ", "a.\n", "- ", '."', "。", "A: ", "\n", "A ", "-"],
)
@pytest.mark.parametrize("language", ["en", "ja"])
def test_time_grows_with_the_text_alone(piece, language):
    """Nothing is looked at again for each sign of a long text: where it was, this took over 4 s, and 1 MB minutes."""
    text = piece * ((1 << 16) // len(piece))
    began = time.thread_time()
    split_sentences(text, language)
    read_sections(text, "en")
    assert time.thread_time() - began < 1  # about 0.05


def test_a_megabyte_takes_a_second():
    began = time.thread_time()
    assert len(split_sentences("Ab. Cd. " * (1 << 17))) == 1 << 18
    assert time.thread_time() - began < 3  # about 0.8


def test_marks_and_brackets_end_sentences_as_before():
    text = 'He said "no." Then (see fig. 2). Dr. Who came... And v. 3! [A] Yes?! (B)'
    assert split_sentences(text) == [
        'He said "no."', "Then (see fig. 2).", "Dr. Who came...", "And v. 3!", "[A] Yes?!", "(B)"
    ]  # fmt: skip
