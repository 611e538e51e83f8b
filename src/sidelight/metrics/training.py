"""How much of a difference between encoders is chance of who was labelled: other patients would give other heads.

An interval that resamples the tested units holds the heads fixed. Two equal encoders then differ "significantly" in 14 to 20 %
of worlds, because the heads that were trained do differ. What is missing is measured here from heads that learnt other draws:

- At few labels from further draws of so many labelled units. A draw is a sample without replacement of a finite pool, so the
  variance between draws, times f / (1 - f) for a labelled share f, is that of the pool (delete-d jackknife: Shao and Wu,
  Ann. Statist. 1989;17:1176). Folds draw independently, which divides the first by their number K, and share nearly all
  of their pool: K - 1 times as much.
- With all labels from halves of the patients (the same jackknife at f = 1/2), tested on that half: who learns is also tested, and
  in small cohorts an easy patient helps twice.
- Where neither is there, by Nadeau and Bengio (Mach. Learn. 2003;52:239): the variance of the tested units times
  1 + tested / learnt.

The spread over seeds of pre-training, divided by their number, is added where it is more than draws explain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEAST_DRAWS = 5
"""Values from which a variance between draws may be read."""
LARGEST_SHARE = 0.6
"""Labelled share of the pool above which a draw leaves out too little to say what other patients would have given."""


LEAST_DF = 4.0
"""Degrees of freedom that seeds, of which there are two or three, do not take away: what they add is at times estimated large by
chance, and t of one degree then makes an interval that says nothing, without fewer false verdicts: a null world in
``tests/metrics/test_training.py``."""


@dataclass(frozen=True)
class Training:
    """What the draw of labelled patients adds: the variance of the tested units times ``ratio``, plus ``variances``.

    :ivar ratio: at least 1; ``df`` the degrees of freedom with which it was measured, inf where it is a rule.
    :ivar variances: pairs of a variance and its degrees of freedom.
    """

    ratio: float = 1.0
    df: float = float("inf")
    variances: tuple[tuple[float, float], ...] = ()

    def total(self, tested: float, df: float) -> tuple[float, float]:
        """Variance and degrees of freedom (Welch-Satterthwaite) of a difference whose tested units have ``tested`` and ``df``."""
        known = min(df, self.df)
        parts = [(self.ratio * tested, known), *self.variances]
        whole = sum(variance for variance, _ in parts)
        spread = sum(variance**2 / own for variance, own in parts)
        return whole, max(whole**2 / spread, min(known, LEAST_DF)) if spread > 0 else df


FIXED = Training()
"""The heads are taken as they are."""


def of_draws(values: ArrayLike, seeds: ArrayLike, *, learnt: float, labels: float, folds: int, tested: int) -> Training:
    """From a difference [S] by heads of S draws of ``labels`` units.

    :param seeds: [S] of pre-training; each may have several draws.
    :param learnt: units that could have been drawn, in each of ``folds`` folds (1: a test side); ``tested`` units in all.
    """
    each, of = np.asarray(values, np.float64), np.asarray(seeds)
    share, count = labels / learnt, len(each)
    within, df = _within(each, of)
    if df < 1:  # one draw per seed: they are draws, too
        within, df, of = (float(each.var(ddof=1)), count - 1.0, np.arange(count)) if count > 1 else (0.0, 0.0, of)
    between = _between_seeds(each, of, within)
    pool = within * max(folds - 1, 1) * share / (1 - share) if share < 1 else 0.0
    if count >= LEAST_DRAWS and df >= LEAST_DRAWS - 1 and share <= LARGEST_SHARE:
        return Training(variances=(*_known(within / count + pool, df), *between))
    return Training(1 + tested / learnt, variances=(*_known(within / count, df), *between))


def of_halves(
    joint: ArrayLike, seeds: ArrayLike, tested: float, whole: ArrayLike, whole_seeds: ArrayLike, *, outside: bool
) -> Training:
    """From a difference [S] by heads of halves of the patients.

    :param tested: variance of the tested units, by heads of a half, as if all units were tested.
    :param whole: the difference with all labels, by ``whole_seeds``.
    :param outside: other patients were tested, so the halves did not change who was tested.
    """
    variance, df = _within(np.asarray(joint, np.float64), np.asarray(seeds))
    ratio = 1.0 if tested <= 0 else (1 + variance / tested if outside else max(1.0, variance / tested))
    return Training(ratio, df, _between_seeds(np.asarray(whole, np.float64), np.asarray(whole_seeds), 0.0))


def _within(values: NDArray[np.float64], seeds: NDArray[np.generic]) -> tuple[float, float]:
    """Variance between the draws of one seed, pooled over the seeds, and its degrees of freedom."""
    parts = [values[seeds == seed] for seed in np.unique(seeds)]
    df = float(sum(len(part) - 1 for part in parts))
    return (float(sum(((part - part.mean()) ** 2).sum() for part in parts)) / df, df) if df else (0.0, 0.0)


def _between_seeds(
    values: NDArray[np.float64], seeds: NDArray[np.generic], within: float
) -> tuple[tuple[float, float], ...]:
    """What seeds vary more than their draws explain, as a variance of the mean over seeds; nothing from one seed."""
    parts = [values[seeds == seed] for seed in np.unique(seeds)]
    if len(parts) < 2:
        return ()
    means = np.array([part.mean() for part in parts])
    explained = within * float(np.mean([1 / len(part) for part in parts])) if within else 0.0
    return _known(max(0.0, float(means.var(ddof=1)) - explained) / len(parts), len(parts) - 1.0)


def _known(variance: float, df: float) -> tuple[tuple[float, float], ...]:
    return ((variance, df),) if variance > 1e-20 and df >= 1 else ()
