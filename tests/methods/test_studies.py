"""What is learnt under a given split: nothing of its test's pixels, words and labels; and normalisation that is half given."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import DataError
from sidelight.methods import load_method
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.studies import statistics

TINY = {"encoder": "test_resnet", "image_size": 32, "working_size": 32, "batch_size": 8, "device": "cpu"}
TEXT = {"text": {"width": 16, "layers": 1, "heads": 2}, "hidden": 16, "dim": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """24 dark patients that train, 24 bright ones of the test, whose reports alone speak of zebras, with and without."""
    folder, rng, rows = tmp_path_factory.mktemp("split"), np.random.default_rng(0), []
    for n in range(48):
        test = n >= 24
        pixels = rng.integers(180, 255, (32, 32), np.uint8) if test else rng.integers(0, 40, (32, 32), np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
        zebra = "There is a zebra." if n % 2 else "No zebra."
        effusion = "There is an effusion." if n % 3 or test else "No effusion."
        nodule = "There is a nodule." if n % 2 else "No nodule."
        rows.append((str(n), f"{effusion} {nodule} {zebra if test else ''}", "test" if test else "train"))
    pd.DataFrame(rows, columns=["n", "text", "side"]).to_csv(folder / "texts.csv", index=False)
    (folder / "cohort.toml").write_text(
        'files = "{n}.png"\nlevels = ["n"]\ntables = [{file = "texts.csv", on = ["n"]}]\nreport = "text"\n'
    )
    return Cohort.open(folder), str(tmp_path_factory.mktemp("cache"))


def made(world, name, **values):
    cohort, cache = world
    kind = load_method(name)
    settings = resolve(kind, {**TINY, "cache": cache, **values})
    pixels = open_pixels(cohort, 32, settings, quiet=True)
    return kind(settings, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key))


def normalisation(method):
    return float(method.encoder.mean.mean()), float(method.encoder.std.mean())


def test_normalisation_and_vocabulary_are_those_of_the_training_side(world):
    method, whole = made(world, "lovt", split="side", **TEXT), made(world, "lovt", **TEXT)
    mean, std = normalisation(method)
    assert 0.06 < mean < 0.09 and std < 0.06  # of 0 to 39 of 255
    assert normalisation(whole)[0] > 0.4
    words = [method.reports.tokenizer.pieces([word])[0] for word in ("effusion", "zebra")]
    unknown = method.reports.tokenizer.pieces(["qqq"])[0]
    assert words[0] != unknown == words[1]
    assert whole.reports.tokenizer.pieces(["zebra"])[0] != unknown
    assert len(method.feed(method.source.pixels).train_rows) == 24


def test_findings_and_their_weights_are_those_of_the_training_side(world):
    words = {name: [name] for name in ("effusion", "nodule", "zebra")}
    given = {"findings": words, "unmentioned": "negative", "balance": "inverse_frequency"}
    method = made(world, "weak_labels", split="side", **given)
    assert method.names == ("effusion", "nodule")
    assert made(world, "weak_labels", **given).names == tuple(words)
    assert method.class_weights.tolist() == [[2.0, 1.0], [1.0, 1.0]]  # 16 of 24 and 12 of 24
    assert method.facts()["effusion: present"] == 16
    with pytest.raises(DataError, match="1 can be told apart in 24 reports"):
        made(
            world, "weak_labels", split="side", **(given | {"findings": {"effusion": ["effusion"], "zebra": ["zebra"]}})
        )


@pytest.mark.parametrize("name", ["lovt", "weak_labels"])
def test_a_mean_or_a_deviation_that_is_given_stays(world, name):
    text = TEXT if name == "lovt" else {}
    plain = made(world, name, **text)
    own = statistics(plain.source.pixels, plain.source.rows)
    assert normalisation(plain) == pytest.approx(own, rel=1e-5)
    assert normalisation(made(world, name, std=0.9, **text)) == pytest.approx((own[0], 0.9), rel=1e-5)
    assert normalisation(made(world, name, mean=0.1, **text)) == pytest.approx((0.1, own[1]), rel=1e-5)
