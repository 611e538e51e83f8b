"""Headers of reports: MIMIC-CXR's, German and Japanese ones, odd ones."""

import pytest

from sidelight.data.reports.sections import read_sections
from sidelight.errors import ConfigError

MIMIC = """                                 FINAL REPORT
 EXAMINATION:  CHEST (PA AND LAT)

 INDICATION:  ___ year old woman with ?pneumonia.

 TECHNIQUE:  Chest PA and lateral

 COMPARISON:  ___

 FINDINGS:

 There is no focal consolidation. The cardiomediastinal silhouette
 is normal.  Note: a nipple shadow.

 IMPRESSION:

 No acute process.
"""


def test_mimic():
    found = read_sections(MIMIC)
    assert list(found) == ["findings", "impression"]
    assert found["findings"].startswith("There is no focal") and found["findings"].endswith("Note: a nipple shadow.")
    assert found["impression"] == "No acute process."


@pytest.mark.parametrize(
    ("header", "section"),
    [
        ("FINDINGS", "findings"),
        ("Findings", "findings"),
        ("FINIDNGS", "findings"),
        ("CHEST, TWO VIEWS", "findings"),
        ("PORTABLE UPRIGHT", "findings"),
        ("PA AND LATERAL RADIOGRAPHS", "findings"),
        ("IMPRESSION", "impression"),
        ("MPRESSION", "impression"),
        ("CONCLUSION", "impression"),
        ("FINDINGS AND IMPRESSION", "impression"),
        ("FINDINGS/IMPRESSION", "impression"),
        ("COMPARISION", None),
        ("RECOMMENDATION(S)", None),
        ("CLINICAL HISTORY", None),
        ("Note", None),
        ("NOTIFICATION", None),
    ],
)
def test_headers(header, section):
    found = read_sections(f" INDICATION: cough.\n\n {header}: something was seen.\n")
    assert found == ({section: "something was seen."} if section else {})


def test_a_foreign_header_in_capitals_ends_a_section_and_the_last_of_two_counts():
    text = " FINDINGS: first.\n DOSE: 3 mGy\n FINDINGS: second.\n IMPRESSION:  \n"
    assert read_sections(text) == {"findings": "second."}


def test_german():
    text = "Klinik: Husten\nRechtfertigende Indikation: Infiltrat?\n"
    text += "Befund\nKein Erguss.\nHerz: normal groß.\n\nBEURTEILUNG: Unauffällig."
    assert read_sections(text, "de") == {"findings": "Kein Erguss.\nHerz: normal groß.", "impression": "Unauffällig."}


def test_japanese():
    text = "【検査目的】咳嗽\n【所見】右上葉に結節あり。\n胸水なし。\n診断：肺癌の疑い\n"
    assert read_sections(text, "ja") == {"findings": "右上葉に結節あり。\n胸水なし。", "impression": "肺癌の疑い"}


def test_headers_of_ones_own():
    text = "Résultats : pas d'épanchement.\nConclusion : normal."
    own = {"findings": ["Résultats"], "impression": ["Conclusion"]}
    assert read_sections(text, "fr", **own) == {"findings": "pas d'épanchement.", "impression": "normal."}
    with pytest.raises(ConfigError, match=r"'fr' has no headers.*findings = "):
        read_sections(text, "fr")


def test_no_header_at_all():
    assert read_sections("Severe ARDS. Person is intubated.") == {}
    assert read_sections("") == {}
