"""The vocabulary: frequent words become pieces, rare ones leave no trace, equal reports give equal text."""

import json

import pytest

from sidelight.errors import ConfigError
from sidelight.models.text import Tokenizer, small_report_encoder
from sidelight.models.wordpiece import SPECIAL, learn_vocabulary, word_tokenizer

WORDS = {"effusion": 90, "effusions": 40, "lung": 60, "glockenblum": 500, "lunge": 30}
PATIENTS = {"effusion": 45, "effusions": 20, "lung": 30, "glockenblum": 19, "lunge": 25}


def test_words_of_few_patients_leave_no_piece():
    pieces = learn_vocabulary(WORDS, PATIENTS)
    assert {"effusion", "effusions", "lung", "lunge"} <= set(pieces)
    letters = set("".join(word for word, own in PATIENTS.items() if own >= 20))
    assert set("".join(pieces[len(SPECIAL) :])) <= letters | {"#"}
    for piece in pieces[len(SPECIAL) :]:
        assert any(piece.removeprefix("##") in word for word, own in PATIENTS.items() if own >= 20), piece


def test_the_same_counts_give_the_same_vocabulary_and_size_holds():
    assert learn_vocabulary(WORDS, PATIENTS) == learn_vocabulary(dict(reversed(WORDS.items())), PATIENTS)
    assert len(learn_vocabulary(WORDS, PATIENTS, size=22)) == 22
    assert word_tokenizer(learn_vocabulary(WORDS, PATIENTS)) == word_tokenizer(learn_vocabulary(WORDS, PATIENTS))


def test_merges_are_those_of_byte_pair_encoding():
    pieces = learn_vocabulary({"aab": 3, "ab": 2, "b": 9}, dict.fromkeys(("aab", "ab", "b"), 20))
    assert pieces == [*SPECIAL, "##a", "##b", "a", "b", "##ab", "aab", "ab"]


def test_a_name_of_one_patient_is_unknown_to_the_tokenizer():
    reports = [["No effusion in the left lung."]] * 24 + [["Told Mrs Xylokwatz of it."]]
    encoder = small_report_encoder(reports, [str(n) for n in range(25)], width=16, heads=2, layers=1)
    pieces = json.loads(encoder.tokenizer.text)["model"]["vocab"]
    assert not [piece for piece in pieces if piece.removeprefix("##") and piece.removeprefix("##")[0] in "xykwz"]
    assert encoder.tokenizer.pieces(["Xylokwatz"]) == [[1]]
    assert [len(one) for one in encoder.tokenizer.pieces(["No effusion", "left lung.", ""])] == [2, 3, 0]


def test_too_few_patients_are_refused():
    with pytest.raises(ConfigError, match="20 patients"):
        small_report_encoder([["Clear."]] * 30, ["one"] * 30)


def test_a_tokenizer_without_berts_pieces_is_refused():
    with pytest.raises(Exception, match=r"\[CLS\]"):
        Tokenizer.of(word_tokenizer(["[UNK]", "a"]))
