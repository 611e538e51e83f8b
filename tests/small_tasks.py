"""A few lesions of two patients, and tasks on them or on a table of one's own."""

from types import SimpleNamespace

import pandas as pd

from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.task import make_task


def cohort(**columns):
    items = pd.DataFrame({"item": [f"i{k}" for k in range(len(columns["patient"]))], **columns}, dtype=str)
    levels = tuple(name for name in ("patient", "lesion") if name in items)
    return SimpleNamespace(items=items.assign(group=items["patient"]), levels=levels)


def task_of(data, **keys):
    return make_task("t", TaskSpec.model_validate({"label": "dx", **keys}), data.items, data.levels)


LESIONS = cohort(
    patient=["1", "1", "1", "2", "2"],
    lesion=["1", "1", "2", "1", "9"],
    dx=["MEL", "", "NEV", "BCC", "odd"],
    site=["arm", "arm", "leg", "arm", "arm"],
)
