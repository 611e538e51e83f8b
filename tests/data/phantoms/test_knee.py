from collections import Counter

import numpy as np
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.units import units
from sidelight.data.phantoms.knee import EXAMS, LABELS, PLANES, phantom
from sidelight.errors import ConfigError


def test_labels_have_mrnets_frequencies() -> None:
    total = sum(EXAMS.values())
    assert total == 1130
    assert [sum(count for labels, count in EXAMS.items() if labels[c]) for c in range(3)] == [913, 208, 397]
    counts = Counter(knee.labels for knee in phantom(exams=226).knees)
    for labels, count in EXAMS.items():
        assert counts[labels] == pytest.approx(count / 5, abs=2)
    assert set(Counter(knee.labels for knee in phantom(exams=5).knees)) == set(EXAMS)


def test_lesions_are_what_the_labels_say() -> None:
    for knee in phantom(exams=60).knees:
        kinds = {lesion.kind for lesion in knee.lesions}
        assert knee.labels == (int(bool(kinds)), int("acl" in kinds), int("meniscus" in kinds))


def test_a_lesion_spans_some_slices_and_is_what_differs() -> None:
    """Outside of the boxes a knee is the same with and without its lesions."""
    from dataclasses import replace

    from sidelight.data.phantoms.knee import _grid, _signal

    source = phantom(exams=60, slices=16, size=64)
    spans = []
    for exam in [place for place, knee in enumerate(source.knees) if knee.labels[1] or knee.labels[2]][:6]:
        knee = source.knees[exam]
        for plane, name in enumerate(PLANES):
            grid = _grid(knee, name, source.places(name), 64)
            ill, well = (_signal(one, grid, name, 0.5) for one in (knee, replace(knee, lesions=())))
            inside = np.zeros(ill.shape, bool)
            for box in source.boxes(exam * 3 + plane, "abnormal"):
                inside[box[0] : box[1], box[2] : box[3], box[4] : box[5]] = True
                spans.append(box[1] - box[0])
            np.testing.assert_array_equal(ill[~inside], well[~inside])
            assert np.abs(ill - well)[inside].max() > 0.1
    assert min(spans) >= 2 and max(spans) < 16 and 5 <= np.median(spans) <= 9


def test_slices_do_not_depend_on_their_company() -> None:
    source = phantom(exams=5, slices=9, size=24)
    whole = source.read(4, 9).frames
    np.testing.assert_array_equal(source.render(4, np.array([3, 7])), whole[[3, 7]])
    np.testing.assert_array_equal(phantom(exams=5, slices=9, size=24).read(4, 9).frames, whole)
    assert (phantom(exams=5, slices=9, size=24, seed=1).read(4, 9).frames != whole).any()
    assert whole.dtype == np.uint8 and whole.std() > 20


def test_it_opens_as_a_cohort() -> None:
    cohort = Cohort.open("phantom:knee?exams=10&slices=4&size=16")
    assert cohort.levels == ("exam",) and sorted(set(cohort.items["view"])) == sorted(PLANES)
    task = cohort.tasks["diagnosis"]
    assert task.kind == "multilabel" and task.classes == LABELS and set(cohort.tasks) == {"diagnosis", *LABELS}
    assert len(units(cohort, task)) == 10


def test_missing_series() -> None:
    source, whole = phantom(exams=20, slices=3, size=16, missing=0.5), phantom(exams=20, slices=3, size=16)
    assert len(source.items) == 50 and source.items["exam"].nunique() == 20
    place = {item: position for position, item in enumerate(whole.items["item"])}
    for position, item in enumerate(source.items["item"]):
        np.testing.assert_array_equal(source.read(position, 3).frames, whole.read(place[item], 3).frames)
        assert source.boxes(position, "abnormal") == whole.boxes(place[item], "abnormal")


@pytest.mark.parametrize("wrong", [{"exams": 4}, {"slices": -1}, {"size": 8}, {"difficulty": 2}, {"missing": -0.1}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        phantom(**wrong)  # type: ignore[arg-type]
