"""The chest phantom: plain reports stay as they were, rich ones say what the images show, and what they say is known."""

import hashlib
from collections import Counter

import numpy as np
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.chest import KINDS, SIDES, ZONES, phantom
from sidelight.data.reports.reports import read_report, read_reports
from sidelight.errors import ConfigError

LANGUAGES = ("en", "de", "ja")
MANY = {"patients": 400, "studies": 1, "views": 1, "size": 32}
EVERY = [("plain", "en"), *(("rich", language) for language in LANGUAGES)]


def digest_of(made):
    """Of every character and pixel, and of all that was known when it was computed."""
    found = hashlib.sha256(made.items.to_csv(index=False).encode())
    for one in (one for findings in made.findings for one in findings):
        found.update(repr((one.kind, one.side, one.zone, one.sentence, one.shift, one.size)).encode())
    found.update(repr([tuple(place) for place in made.places]).encode())
    for position in range(len(made.items)):
        found.update(made.read(position, 1).frames.tobytes())
    found.update(repr(made.tasks).encode())
    found.update(repr(made.spec).encode())
    return found.hexdigest()


def test_plain_reports_and_their_images_are_what_they_were_before_there_were_others():
    wanted = "44de81ec24e9c576314a7d45bd1f6a2870e7a1355a7c3407019cc50b162494dc"
    assert digest_of(phantom(patients=12, size=48)) == wanted
    wanted = "a15f5138e7176998ddcd4fd624218938218da01d120298b329a296933225352c"
    assert digest_of(phantom(patients=6, studies=1, views=1, size=32, seed=7, difficulty=0.0)) == wanted


@pytest.fixture(scope="module", params=EVERY, ids=lambda one: "-".join(one))
def cohort(request):
    reports, language = request.param
    options = "&".join(f"{key}={value}" for key, value in MANY.items())
    return Cohort.open(f"phantom:chest?{options}&reports={reports}&language={language}")


def mentions(made, status=None):
    return [
        (position, statement, one)
        for position, said in enumerate(made.statements)
        for statement in said
        for one in statement.mentions
        if status in (None, one.status)
    ]


def test_the_sentences_that_are_read_are_those_whose_truth_is_known(cohort):
    made = cohort.phantom
    for text, said in zip(made.items["report"], made.statements, strict=True):
        assert read_report(text, cohort.spec.report) == tuple(one.text for one in said)
    assert len(read_reports(cohort)) > 350  # the same words about two patients are two reports


def test_what_sentences_name_is_in_the_masks(cohort):
    """A finding that is named lies on its side, in its zone; of what is denied, or doubted of nothing, there is nothing."""
    made, half = cohort.phantom, MANY["size"] // 2
    for position, statement, one in mentions(made):
        mask = made.mask(position, one.kind)
        if not one.shown:
            assert one.status != "present" and not mask.any(), statement
            continue
        assert one.status != "absent"
        place = [
            own for own in made.findings[position] if (own.kind, own.side, own.zone) == (one.kind, one.side, one.zone)
        ]
        extent = made.extent(position, place[0])
        assert len(place) == 1 and extent.any() and mask[extent].all()
        if not one.side:
            continue
        middle = half * (1 + made.places[position].right)
        columns = np.nonzero(extent)[1]
        assert (columns.mean() < middle) == (one.side == SIDES[0]), statement  # the patient's right is on the left
        height = np.nonzero(extent)[0].mean() / MANY["size"]
        assert abs(height - (0.33, 0.51, 0.7)[ZONES.index(one.zone)]) < 0.15, statement


def test_every_finding_has_a_sentence_and_every_sentence_of_one_a_finding(cohort):
    made = cohort.phantom
    for position, found in enumerate(made.findings):
        texts = {one.text: one.mentions for one in made.statements[position] if one.section == "findings"}
        for one in found:
            assert one.sentence in made.items["report"][position]
            (own,) = [
                each
                for each in texts[one.sentence]
                if (each.kind, each.side, each.zone) == (one.kind, one.side, one.zone)
            ]
            assert own.shown and (own.status == "uncertain") == (
                one.strength < 1 or (made.rich and one.size < 0.9 and not one.side)
            )


def rich(language, **more):
    return phantom(**MANY, reports="rich", language=language, **more)


@pytest.mark.parametrize("language", LANGUAGES)
def test_reports_deny_and_doubt_as_often_as_they_are_meant_to(language):
    made = rich(language)
    count = Counter()
    for said in made.statements:
        for one in (one for one in said if one.section == "findings"):
            status = {each.status for each in one.mentions}
            assert len(status) < 2  # a sentence says one thing
            count[next(iter(status), "beside")] += 1
            count["both sides"] += len(one.mentions) == 2 and "present" in status
            count["of nothing"] += "uncertain" in status and not one.mentions[0].shown
    total = sum(count[key] for key in ("present", "absent", "uncertain", "beside"))
    assert 0.25 < count["absent"] / total < 0.45
    assert 0.1 < count["present"] / total < 0.2
    assert 0.08 < count["uncertain"] / total < 0.2
    assert 0.2 < count["of nothing"] / count["uncertain"] < 0.5
    assert count["both sides"] >= 10


STEMS = {
    "en": {
        "opacity": ("opacit", "consolidation"),
        "nodule": ("nodule",),
        "effusion": ("effusion",),
        "cardiomegaly": ("heart",),
    },
    "de": {
        "opacity": ("verschattung", "infiltrat", "konsolidierung"),
        "nodule": ("rundherd",),
        "effusion": ("erguss",),
        "cardiomegaly": ("herz",),
    },
    "ja": {
        "opacity": ("浸潤影", "コンソリデーション"),
        "nodule": ("結節",),
        "effusion": ("胸水",),
        "cardiomegaly": ("心拡大",),
    },
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_word_tells_a_finding_from_its_absence(language):
    """Whoever looks for a word alone finds it affirmed, denied, doubted and, in the clinical question, asked about."""
    made = rich(language)
    question = [asked(text, language) for text in made.items["report"]]
    for kind in KINDS:
        said = {
            status: {own.text.lower() for _, own, one in mentions(made, status) if one.kind == kind}
            for status in ("present", "absent", "uncertain")
        }
        for stem in STEMS[language][kind]:
            assert all(any(stem in text for text in said[status]) for status in ("present", "absent")), stem
            with_it = made.items[kind][[stem in text for text in question]] == "1"
            assert len(with_it) == 0 or abs(with_it.mean() - (made.items[kind] == "1").mean()) < 0.15
        assert any(stem in text for stem in STEMS[language][kind] for text in said["uncertain"])
    assert any(stem in text for stems in STEMS[language].values() for stem in stems for text in question)


def asked(report, language):
    """The clinical question, in small letters."""
    end = {"en": "COMPARISON", "de": "Voraufnahmen", "ja": "【比較】"}[language]
    return report.partition(end)[0].lower()


def test_rich_and_plain_cohorts_have_the_same_images_but_for_what_is_faint():
    plain, made, other = phantom(**MANY), rich("en"), rich("ja")
    same = 0
    for position, found in enumerate(made.findings):
        assert [one.strength for one in found] == [one.strength for one in other.findings[position]]
        equal = (plain.read(position, 1).frames == made.read(position, 1).frames).all()
        assert equal == all(one.strength == 1 for one in found)
        same += equal
    assert 0.5 < same / len(plain.items) < 0.9
    assert plain.items.drop(columns="report").equals(made.items.drop(columns="report"))


def test_a_faint_finding_is_fainter():
    plain, made = (
        phantom(patients=200, studies=1, views=1, size=48, difficulty=0.0, reports=kind) for kind in ("plain", "rich")
    )
    lost = []
    for position, found in enumerate(made.findings):
        if len(found) == 1 and found[0].strength < 1:
            lit = made.extent(position, found[0])
            images = [one.read(position, 1).frames[0].astype(float) for one in (plain, made)]
            lost.append((images[0] - images[1])[lit].mean())
    assert len(lost) > 10 and min(lost) > 5


def test_size_words_are_the_sizes():
    made = rich("en")
    for position, statement, one in mentions(made, "present"):
        (own,) = [f for f in made.findings[position] if (f.kind, f.side, f.zone) == (one.kind, one.side, one.zone)]
        size = 1 - 3 * own.shift[0] if own.kind == "effusion" else own.size
        assert one.size == ("small" if size < 0.9 else "large" if size > 1.1 else "")
        words = {"small": ("small", "mildly"), "large": ("large", "markedly"), "": ()}[one.size]
        for word in ("Small", "large ", "small ", "mildly", "markedly"):
            if len(statement.mentions) == 1 and word in statement.text:
                assert word.strip().lower() in words, statement
    areas = {
        word: [
            made.extent(p, f).sum()
            for p, s, m in mentions(made, "present")
            for f in made.findings[p]
            if m.size == word and m.kind == f.kind == "effusion"
        ]
        for word in ("small", "large")
    }
    assert np.mean(areas["small"]) < 0.8 * np.mean(areas["large"])


def test_tasks_of_rich_reports_ask_in_their_language():
    for language, word in (("en", "nodule"), ("de", "Rundherd"), ("ja", "結節")):
        cohort = Cohort.open(f"phantom:chest?patients=2&size=32&reports=rich&language={language}")
        assert cohort.tasks["finding_masks"].phrases_of("nodule") == (word,)
    assert Cohort.open("phantom:chest?patients=2&size=32").tasks["finding_masks"].phrases_of("nodule") == ("nodule",)


def test_words_that_no_phantom_knows():
    for values, says in (
        ({"reports": "poor"}, "reports = poor.*plain or rich"),
        ({"reports": "rich", "language": "fr"}, "language = fr.*en or de or ja"),
        ({"language": "de"}, "Plain reports in 'de'.*reports=rich"),
    ):
        with pytest.raises(ConfigError, match=says):
            phantom(patients=2, **values)
