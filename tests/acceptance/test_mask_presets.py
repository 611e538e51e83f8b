"""Masks and boxes of the public data sets that are here, in their own layouts."""

import numpy as np
import pytest

from sidelight.data.annotations import annotations_of
from sidelight.data.cohort.cohort import Cohort


def folder(real_data, name):
    if not (real_data / name).is_dir():
        pytest.skip(f"no {name} in {real_data}")
    return real_data / name


def test_lesions_of_ham10000(real_data):
    cohort = Cohort.open(folder(real_data, "ham10000"), preset="ham10000")
    found = annotations_of(cohort, "lesion_mask")
    assert found.classes == ("lesion",) and len(found.positions) == len(cohort.items) == 5600
    shares = [found.masks(at).mean() for at in found.positions[::800]]
    assert all(0.01 < share < 0.99 for share in shares)


def test_structures_of_acdc(real_data):
    """The left ventricle's cavity lies inside the myocardium: its centre is within the ring's extent."""
    cohort = Cohort.open(folder(real_data, "acdc"), preset="acdc")
    found = annotations_of(cohort, "structures")
    assert len(found.positions) == 150
    planes = found.masks(0)
    assert planes.shape == (10, 3, 128, 128) and not (planes[:, 1] & planes[:, 2]).any()
    for slices in planes[planes[:, 1:].any((2, 3)).all(axis=1)]:
        rows, columns = np.nonzero(slices[2])
        ring = np.argwhere(slices[1])
        assert (ring.min(0) < [rows.mean(), columns.mean()]).all() and (
            ring.max(0) > [rows.mean(), columns.mean()]
        ).all()


def test_what_radiologists_drew_on_chests(real_data):
    cohort = Cohort.open(folder(real_data, "chest"), preset="covid_chestxray")
    anatomy, opacities = annotations_of(cohort, "anatomy"), annotations_of(cohort, "opacities")
    lungs = annotations_of(cohort, "lungs")
    assert anatomy.classes == ("right_lung", "left_lung", "cardiomediastinum")
    assert (len(anatomy.positions), len(opacities.positions), len(lungs.positions)) == (39, 41, 188)
    both = sorted(set(anatomy.positions) & set(lungs.positions))
    assert len(both) > 5
    for at in both[:8]:  # the right lung is on the left of the picture, and in its box
        masks, boxes = anatomy.masks(at)[0], lungs.boxes(at)
        middle = [np.argwhere(mask).mean(axis=0)[1] for mask in masks[:2]]
        assert middle[0] < middle[1] and boxes.label.tolist() == [0, 1]
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.corners.round().astype(int), strict=False):
            assert mask[max(0, y0) : y1, max(0, x0) : x1].sum() > 0.6 * mask.sum()
