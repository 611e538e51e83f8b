"""Phantom lesions written to disk as derm7pt's release_v0 has them, so that its real loader is exercised."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.presets import load_preset

COLUMNS = (
    *("case_num", "diagnosis", "seven_point_score", "pigment_network", "streaks", "pigmentation"),
    *("regression_structures", "dots_and_globules", "blue_whitish_veil", "vascular_structures"),
    *(
        "level_of_diagnostic_difficulty",
        "elevation",
        "location",
        "sex",
        "management",
        "clinic",
        "derm",
        "case_id",
        "notes",
    ),
)
LABELS = (
    *("diagnosis", "pigment_network", "blue_whitish_veil", "vascular_structures", "pigmentation", "streaks"),
    *("dots_and_globules", "regression_structures"),
)
POINTS = {"pigment_network": 2, "blue_whitish_veil": 2, "vascular_structures": 2}
BORDER = 25


def spellings(label):
    """Class -> what meta.csv writes for it, of a label."""
    found = {}
    for value, name in load_preset("derm7pt")["task"][label]["classes"].items():
        found.setdefault(name, []).append(value)
    return found


def write_meta(folder, rows, sides, *, under_meta=True):
    """meta.csv of ``rows`` (dicts) and the three index files of ``sides`` (side -> rows)."""
    place = folder / "meta" if under_meta else folder
    place.mkdir(parents=True, exist_ok=True)
    with (place / "meta.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    for side, chosen in sides.items():
        (place / f"{side}_indexes.csv").write_text("indexes\n" + "".join(f"{row}\n" for row in chosen))


def write_phantom(folder, *, under_meta=True, **options):
    """A derm phantom as a folder of derm7pt: 41 % train, 20 % valid, the rest test; extensions mixed in case."""
    cohort = Cohort.open("phantom:derm", **options)
    items, rng = cohort.items, np.random.default_rng(0)
    rows = []
    for case, own in items.groupby("number"):
        row = {"case_num": case + 1, "location": "back", "sex": "female"}
        first, score = own.iloc[0], 0
        for label in LABELS:
            values = spellings(label)[first[label]]
            row[label] = values[rng.integers(len(values))]
            if label != "diagnosis" and first[label] == list(spellings(label))[-1]:
                score += POINTS.get(label, 1)
        row["seven_point_score"] = score
        names = {"dermoscopic": ("derm", f"NEL/Nel{case:03d}.JPG"), "clinical": ("clinic", f"NAL/Nal{case:03d}.jpg")}
        for column, name in names.values():
            row[column] = name
        rows.append(row)
        for position in own.index:
            write_photograph(
                folder / "images" / names[own["view"][position]][1], cohort.phantom.read(position, 1).frames[0]
            )
    count = len(rows)
    order = rng.permutation(count)
    cuts = np.cumsum([round(0.41 * count), round(0.2 * count)])
    sides = dict(zip(("train", "valid", "test"), np.split(order, cuts), strict=True))
    write_meta(folder, rows, {side: sorted(part.tolist()) for side, part in sides.items()}, under_meta=under_meta)
    return cohort


def write_photograph(path: Path, image):
    """A photograph with the black border of a mount, which the loader cuts off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    framed = np.pad(image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)))
    Image.fromarray(framed).save(path, format="JPEG", quality=95, subsampling=0)


def release(counts, sizes):
    """Rows and sides with the class counts of the real test side, and any classes on the other sides."""
    total = sum(sizes.values())
    rows = [{"case_num": row, "derm": f"D/{row}.jpg", "clinic": f"C/{row}.jpg"} for row in range(total)]
    first = 0
    for side, size in sizes.items():
        for label in LABELS:
            classes = list(spellings(label).values())
            wanted = counts[label] if side == "test" else [size - len(classes) + 1, *[1] * (len(classes) - 1)]
            values = [values[0] for values, count in zip(classes, wanted, strict=True) for _ in range(count)]
            for row, value in zip(rows[first : first + size], values, strict=True):
                row[label] = value
        first += size
    bounds = np.cumsum([0, *sizes.values()])
    sides = {side: range(bounds[place], bounds[place + 1]) for place, side in enumerate(sizes)}
    return rows, sides
