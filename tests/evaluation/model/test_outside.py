"""The limit beyond which a unit is outside the training data."""

import numpy as np
import pytest

from sidelight.evaluation.model.outside import left_out_distances, nearest_distance, outside_limit


def test_a_patient_is_left_out_of_the_others_and_of_their_centre():
    units, groups = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [0.0, 2.0]]), np.array(["a", "b", "c", "c"])
    found = sorted(left_out_distances(units, groups), key=len)
    # without b the centre is (0, 4/3): b is at (2, -4/3), a at (0, -4/3), c at (0, 2/3); cosine to a 2 / sqrt 13
    # without a it is (2/3, 4/3): a is at (-2/3, -4/3), b at (4/3, -4/3), c at (-2/3, 2/3); cosines 1 / sqrt 10, -1 / sqrt 10
    # without c it is (1, 0): c is at (-1, 2), a at (-1, 0), b at (1, 0); cosine to a 1 / sqrt 5, twice
    singles = [1 - 2 / 13**0.5, 1 - 1 / 10**0.5]
    assert sorted(np.concatenate(found[:2])) == pytest.approx(singles)
    assert found[2] == pytest.approx([1 - 1 / 5**0.5] * 2)
    assert left_out_distances(units, np.full(4, "a")) == []


def test_the_limit_is_a_quantile_of_one_patient_more():
    def of(*distances):
        return outside_limit([np.atleast_1d(one) for one in distances])

    assert of(*range(40)) == (38, 0.05)  # 0.95 * 41 = 38.95: the 39th of 40
    assert of(*range(39)) == (37, 0.05)  # 0.95 * 40 = 38: the 38th of 39
    assert of(*range(19)) == (18, 0.05)  # 0.95 * 20 = 19: the last
    assert of(3, 1, 2) == (3, 0.25)  # a fourth is the farthest in one case of four
    assert outside_limit([]) == (2.0, 0.0)
    # however many units a patient has, they count as one patient
    assert of(*[1] * 38, [0, 5] * 300) == (1, 0.05)  # 0.5 + 38 of 40
    assert of(*[1] * 36, [0, 5] * 300, [0, 6], [0, 7]) == (5, 0.05)  # 1.5 + 36 + 0.5 = 38 of 40


@pytest.mark.parametrize("patients", [8, 30, 60, 200])
def test_false_alarms_are_as_rare_as_stated_and_another_kind_is_seen(patients):
    rng = np.random.default_rng(patients)
    spread = np.where(np.arange(16) < 6, 1, 0.1)  # features fill few of their dimensions
    false, true, stated = [], [], 0.0

    def units(count, shift=0.0):
        """Of ``count`` patients: one to five units each, alike within a patient; vectors [N, 16] and patients."""
        patient = np.repeat(np.arange(count), rng.integers(1, 6, count))
        vectors = rng.normal(size=(count, 16))[patient] + 0.5 * rng.normal(size=(len(patient), 16))
        return vectors * spread + shift * np.eye(16)[15], patient

    for _ in range(50):
        known, groups = units(patients)
        centre = known.mean(axis=0)
        limit, stated = outside_limit(left_out_distances(known, groups))
        for flagged, shift in ((false, 0), (true, 10)):
            flagged.append(nearest_distance(units(60, shift)[0] - centre, known - centre) > limit)
    assert stated == (0.05 if patients > 18 else 1 / 9)
    assert 0.3 * stated < np.concatenate(false).mean() < 1.1 * stated
    assert np.concatenate(true).mean() > 0.9
