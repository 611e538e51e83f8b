"""Which units of one data set no picture of another shows: settings for a pre-training that the other then tests.

    python benchmarks/without_copies.py --data MILK --preset milk10k --column folder --of HAM --of-preset ham10000 --out MILK.toml
    sidelight pretrain sm3 --data MILK --preset milk10k --config MILK.toml --out RUN

MILK10k and HAM10000 hold pictures of the same lesions: without this search an encoder that learnt from one is tested on them in
the other. Written is ``where`` with every value of ``--column`` none of whose images is a copy of an image of ``--of``.
"""

import argparse
import re
from pathlib import Path

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import PixelSettings, open_pixels
from sidelight.data.pixels.comparison import SIDE, copies_between
from sidelight.files import write_text


def main() -> None:
    """Search, say how many were found, and write the settings."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--preset")
    parser.add_argument("--column", required=True, help="names the units, e.g. lesions")
    parser.add_argument(
        "--but", default="(?!)", help="values in which this pattern is found are left out too, as a test split"
    )
    parser.add_argument("--of", required=True, help="the data set that will test")
    parser.add_argument("--of-preset")
    parser.add_argument("--cache", type=Path, help="folder for decoded pixels; default is each data set's own")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    cohorts = [Cohort.open(given.data, preset=given.preset), Cohort.open(given.of, preset=given.of_preset)]
    caches = [PixelSettings(cache=given.cache and str(given.cache / cohort.name)) for cohort in cohorts]
    pixels = [open_pixels(cohort, SIDE, cache) for cohort, cache in zip(cohorts, caches, strict=True)]
    pairs = copies_between(cohorts[0], pixels[0], cohorts[1], pixels[1], quiet=False)
    items = cohorts[0].items
    shown = set(items.loc[items["item"].isin({mine for mine, _, _ in pairs}), given.column])
    kept = sorted(name for name in set(items[given.column]) - shown if not re.search(given.but, name))
    print(
        f"{len({far for _, far, _ in pairs}):,} images of {cohorts[1].name} show what images of {cohorts[0].name} show: "
        f"{len(shown):,} of its {items[given.column].nunique():,} values of {given.column} are left out; {len(kept):,} are kept"
    )
    write_text(given.out, f"where.{given.column} = [{', '.join(f'{name!r}' for name in kept)}]\n".replace("'", '"'))


if __name__ == "__main__":
    main()
