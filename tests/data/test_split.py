from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy.stats import hypergeom

from sidelight.data.split import Fold, k_folds, leave_one_group_out, nested_counts
from sidelight.errors import SplitError


def _cohort(seed: int, *, mixed: bool = False) -> pd.DataFrame:
    """Random patients with 1-6 units, 2-4 classes, each class held by at least six patients."""
    rng = np.random.default_rng(seed)
    classes, patients = int(rng.integers(2, 5)), int(rng.integers(24, 60))
    rows = []
    for patient in range(patients):
        own = patient % classes if patient < 6 * classes else int(rng.integers(classes))
        for number in range(int(rng.integers(1, 7))):
            label = int(rng.integers(classes)) if mixed and rng.random() < 0.3 else own
            rows.append((f"p{patient}/u{number}", f"p{patient}", label))
    return pd.DataFrame(rows, columns=["unit", "group", "label"])


COHORTS = [(seed, mixed) for seed in range(8) for mixed in (False, True)]


def _shuffled(units: pd.DataFrame) -> pd.DataFrame:
    return units.sample(frac=1, random_state=3).reset_index(drop=True)


def _check(fold: Fold, units: pd.DataFrame) -> None:
    """Every unit once, no group on two sides."""
    assert sorted(fold.train + fold.test) == sorted(units["unit"])
    group = dict(zip(units["unit"], units["group"], strict=True))
    assert {group[unit] for unit in fold.train}.isdisjoint(group[unit] for unit in fold.test)


def _labels(units: pd.DataFrame, keys) -> pd.Series:
    return units.set_index("unit")["label"].loc[list(keys)]


@pytest.mark.parametrize(("seed", "mixed"), COHORTS)
def test_k_folds_partition_units_with_every_class_everywhere(seed, mixed):
    units, k = _cohort(seed, mixed=mixed), 4
    folds = k_folds(units, k, seed)
    assert sorted(unit for fold in folds for unit in fold.test) == sorted(units["unit"])
    for fold in folds:
        _check(fold, units)
        assert set(_labels(units, fold.test)) == set(_labels(units, fold.train)) == set(units["label"])
        assert len(fold.test) / len(units) == pytest.approx(1 / k, abs=0.09)
    assert k_folds(_shuffled(units), k, seed) == folds


@pytest.mark.parametrize(("seed", "mixed"), COHORTS)
def test_nested_counts_are_nested_balanced_and_spread_over_groups(seed, mixed):
    units = _cohort(seed, mixed=mixed)
    counts = [2, 4, 8, 16, 32, len(units), 10_000]
    found = nested_counts(units, counts, seed)
    assert set(found.subsets) | set(found.left_out) == set(counts)
    assert 2 in found.left_out  # two units cannot be two patients of each class
    assert "only" in found.left_out[10_000]
    group = dict(zip(units["unit"], units["group"], strict=True))
    classes = units["label"].nunique()
    smaller: set[str] = set()
    for count, keys in found.subsets.items():
        assert len(keys) == len(set(keys)) == count
        assert smaller <= set(keys)
        smaller = set(keys)
        labels = _labels(units, keys)
        for label in set(units["label"]):
            assert len({group[unit] for unit in labels.index[labels == label]}) >= 2
        if count <= 2 * classes + 2 and not mixed:
            assert labels.value_counts().max() - labels.value_counts().min() <= 1
            assert len({group[unit] for unit in keys}) == count  # one unit per patient while patients last
    assert set(found.subsets[len(units)]) == set(units["unit"])
    assert nested_counts(_shuffled(units), counts, seed) == found
    assert nested_counts(units, [16], seed + 1).subsets != nested_counts(units, [16], seed).subsets


def test_small_counts_are_left_out_by_name():
    units = pd.DataFrame({"unit": list("abcdef"), "group": list("ppqrst"), "label": [0, 0, 0, 1, 1, 1]})
    found = nested_counts(units, [3, 4, 6], 0)
    assert list(found.subsets) == [4, 6]
    assert found.left_out == {3: "a class would come from fewer than 2 groups"}
    rare = nested_counts(units, [4, 6], 0, min_groups_per_class=3)
    reason = "class 0 comes from 2 of the groups that learn, not 3"
    assert rare.subsets == {} and rare.left_out == {4: reason, 6: reason}


def test_nested_counts_avoid_a_patient_who_already_gave_another_class():
    units = pd.DataFrame({"unit": list("abcdef"), "group": list("xxyzwv"), "label": [0, 1, 0, 1, 0, 1]})
    for seed in range(10):
        keys = nested_counts(units, [4], seed).subsets[4]
        groups = units.set_index("unit")["group"].loc[keys]
        assert groups.nunique() == 4


@pytest.mark.parametrize(("seed", "mixed"), COHORTS[:6])
def test_leave_one_group_out_leaves_each_out_once(seed, mixed):
    units = _cohort(seed, mixed=mixed)
    folds = leave_one_group_out(_shuffled(units))
    assert len(folds) == units["group"].nunique()
    for fold in folds:
        _check(fold, units)
        assert len(set(units.set_index("unit")["group"].loc[list(fold.test)])) == 1
    assert folds == leave_one_group_out(units)


def test_a_class_absent_from_a_fold_is_an_error_that_names_it():
    units = pd.DataFrame(
        {"unit": [f"u{i}" for i in range(20)], "group": [f"g{i}" for i in range(20)], "label": [1] * 3 + [0] * 17}
    )
    with pytest.raises(
        SplitError,
        match=r"Class 1 is absent from fold \d of 5: 3 groups .* fewer folds: --set folds=3",
    ):
        k_folds(units, 5, 0)
    assert len(k_folds(units, 3, 0)) == 3
    folds = k_folds(units, 5, 0, require_classes=False)
    assert sum(1 in set(_labels(units, fold.test)) for fold in folds) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda u: u.drop(columns="group"), "no column 'group'"),
        (lambda u: u.iloc[:0], "no units"),
        (lambda u: pd.concat([u, u.iloc[:1]]), "stands twice"),
        (lambda u: u.assign(label=u["label"].where(u.index > 0)), "no group or no label"),
    ],
)
def test_bad_tables_are_refused(change, message):
    for call in (
        lambda u: k_folds(u, 2, 0),
        leave_one_group_out,
        lambda u: nested_counts(u, [8], 0),
    ):
        with pytest.raises(SplitError, match=message):
            call(change(_cohort(1)))


def test_keys_are_numbers_or_text_and_one_number_is_one_group():
    units = _cohort(1)
    number = units["group"].str[1:].astype(int)
    as_numbers = units.assign(group=number)
    mixed_floats = units.assign(group=[int(n) if at % 2 else float(n) for at, n in enumerate(number)])
    wanted = k_folds(as_numbers, 4, 0)
    assert k_folds(mixed_floats, 4, 0) == k_folds(units.assign(group=number.astype(float)), 4, 0) == wanted
    assert k_folds(units.assign(group=number.astype(str)), 4, 0) == wanted
    half_text = units.assign(group=[f"{n:02d}" if at % 2 else n for at, n in enumerate(number)])
    with pytest.raises(SplitError, match=r"'group' holds numbers and text, such as 0 and '00'.*one spelling for each"):
        k_folds(half_text, 4, 0)


def test_impossible_requests_are_refused():
    units = pd.DataFrame({"unit": ["a", "b", "c"], "group": ["x", "x", "y"], "label": [0, 1, 1]})
    with pytest.raises(SplitError, match="3 folds of 2 groups"):
        k_folds(units, 3, 0)
    with pytest.raises(SplitError, match="Class 0 comes from group 'x' alone"):
        leave_one_group_out(units)
    with pytest.raises(SplitError, match="cannot be left out"):
        leave_one_group_out(units.iloc[:2])


def _labelled(seed: int, patients: int = 60) -> pd.DataFrame:
    """Two units per patient with three labels: even, one in five patients, four patients; some unknown."""
    rng = np.random.default_rng(seed)
    common, less = rng.random(patients) < 0.5, rng.random(patients) < 0.2
    rare = np.isin(np.arange(patients), rng.choice(patients, 4, replace=False))
    rows = []
    for patient in range(patients):
        for number in range(2):
            own = [int(column[patient]) for column in (common, less, rare)]
            unknown = rng.integers(3) if rng.random() < 0.3 else None
            rows.append(
                (f"p{patient}/u{number}", f"p{patient}", tuple(-1 if n == unknown else c for n, c in enumerate(own)))
            )
    return pd.DataFrame(rows, columns=["unit", "group", "label"])


@pytest.mark.parametrize("seed", range(4))
def test_folds_of_several_labels_hold_every_label(seed):
    units = _labelled(seed)
    folds = k_folds(units, 4, seed, require_classes=False)
    assert sorted(key for fold in folds for key in fold.test) == sorted(units["unit"])
    for fold in folds:
        _check(fold, units)
        codes = np.array(_labels(units, fold.test).tolist())
        every = np.array(units["label"].tolist())
        assert (codes == 1).any(axis=0).all() and (codes == 0).any(axis=0).all()
        assert (codes == 1).sum(axis=0) == pytest.approx((every == 1).sum(axis=0) / 4, abs=4)
    assert k_folds(_shuffled(units), 4, seed, require_classes=False) == folds


@pytest.mark.parametrize("seed", range(4))
def test_label_counts_of_several_labels_wait_for_the_rarest(seed):
    units = _labelled(seed)
    found = nested_counts(units, [4, 12, 40, 500], seed)
    assert 500 in found.left_out
    assert all(set(small) < set(large) for small, large in pairwise(found.subsets.values()))
    for keys in found.subsets.values():
        own = units.set_index("unit").loc[keys]
        codes = np.array(own["label"].tolist())
        for place in range(3):
            for code in (0, 1):
                assert own["group"][codes[:, place] == code].nunique() >= 2


def test_a_label_that_one_patient_has_asks_for_one():
    units = _labelled(0)
    units["label"] = [
        (first, second, int(unit == "p7/u0")) for unit, (first, second, _) in units[["unit", "label"]].to_numpy()
    ]
    found = nested_counts(units, [4, 30], 0)
    assert "p7/u0" in found.subsets[30] and (4 in found.left_out or "p7/u0" in found.subsets[4])


def test_one_label_in_a_tuple_is_one_label():
    units = _cohort(0)
    told = units.assign(label=[(label,) for label in units["label"]])
    assert k_folds(told, 4, 0) == k_folds(units, 4, 0)
    assert nested_counts(told, [8, 16], 0) == nested_counts(units, [8, 16], 0)


def _rare(seed: int, patients: int = 600, prevalence: float = 0.05) -> pd.DataFrame:
    """Nothing but a prevalence: patients with 1-3 units, whose class is drawn without regard to how many they have."""
    rng = np.random.default_rng(seed)
    ill, sizes = rng.random(patients) < prevalence, rng.integers(1, 4, patients)
    rows = [(f"p{p}/u{n}", f"p{p}", int(ill[p])) for p in range(patients) for n in range(sizes[p])]
    return pd.DataFrame(rows, columns=["unit", "group", "label"])


def test_natural_subsets_have_the_prevalence_and_balanced_ones_have_not():
    shares = {"natural": [], "balanced": []}
    for seed in range(20):
        units = _rare(seed)
        for draw in shares:
            found = nested_counts(units, [128, 256], seed, draw=draw)
            shares[draw] += [_labels(units, found.subsets[256]).mean()] if 256 in found.subsets else []
            assert all(set(small) < set(large) for small, large in pairwise(found.subsets.values()))
    # the mean over 20 worlds of about 128 patients of 5 %: sd 0.2 / sqrt(20 * 128), about 0.005
    assert len(shares["natural"]) == 20 and np.mean(shares["natural"]) == pytest.approx(0.05, abs=0.015)
    assert np.mean(shares["balanced"]) > 0.2


@pytest.mark.parametrize("seed", range(5))
def test_natural_subsets_take_patients_whole_but_for_the_last(seed):
    units = _rare(seed, prevalence=0.3)
    found = nested_counts(units, [5, 40, 200], seed, draw="natural")
    group, size = dict(zip(units["unit"], units["group"], strict=True)), units["group"].value_counts()
    assert nested_counts(_shuffled(units), [5, 40, 200], seed, draw="natural") == found
    assert nested_counts(units, [40], seed + 1, draw="natural").subsets[40] != found.subsets[40]
    for count, keys in found.subsets.items():
        own = [group[key] for key in keys]
        assert own == sorted(own, key=own.index), "a patient's units follow each other"
        cut = [one for one in dict.fromkeys(own) if own.count(one) < size[one]]
        assert len(keys) == len(set(keys)) == count and cut in ([], [own[-1]])
        assert found.read[count] == count


def test_a_natural_subset_without_a_class_is_left_out_by_name():
    units = _rare(0, patients=300, prevalence=0.03)
    found = nested_counts(units, [2, 8, 300], 0, draw="natural")
    assert found.left_out[2] == "a class would come from fewer than 2 groups" and 300 in found.subsets


def test_cases_read_are_those_of_the_hypergeometric_world():
    """Of 1,000 patients 50 are ill: how many are read for the 8 of 16 labels that are ill, and for all 50 of 128."""
    units = pd.DataFrame({"unit": range(1000), "group": range(1000), "label": [1] * 50 + [0] * 950})
    found = nested_counts(units, [16, 128, 1000], 0)
    seen = np.arange(1001)
    for ill, count in ((8, 16), (50, 128)):
        # patients read until the last ill one: the sum over t of the chance that fewer have come among t
        exact = hypergeom(1000, 50, seen).cdf(ill - 1).sum()
        assert exact == pytest.approx(ill * 1001 / 51)
        assert found.read[count] == pytest.approx(exact, rel=0.15)
    assert found.read[1000] == 1000
    assert nested_counts(units[:100], [100], 0).read == {100: 100}


def test_cases_read_of_equal_classes_worked_by_hand():
    """Two patients of each of two classes: for both of both, all are read."""
    units = pd.DataFrame({"unit": list("abcd"), "group": list("wxyz"), "label": [0, 0, 1, 1]})
    assert nested_counts(units, [4], 0).read == {4: 4}
