from pathlib import Path

from sidelight.reporting.study.content import load
from sidelight.reporting.study.glossary import glossary


def test_words_of_the_page_are_explained_and_no_others(study_folder: Path):
    said = " ".join(glossary(load(study_folder)))
    for word in (
        "**t**",
        "**transductive**",
        "**few groups**",
        "**Holm p**",
        "**seed sd**",
        "holds the trained heads fixed",
    ):
        assert word in said, word
    for word in ("**bootstrap**", "**bound**", "**filled rows**", "**test-selected**"):
        assert word not in said, word
