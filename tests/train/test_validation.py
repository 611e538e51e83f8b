import numpy as np
import pytest
import torch

from sidelight.losses.contrast import nt_xent
from sidelight.methods.base import Criterion
from sidelight.metrics.representation import effective_rank, embedding_std
from sidelight.train.validation import Reading, read
from training_toys import ToyFeed, ToyMethod

CPU = {"seed": 0, "device": torch.device("cpu"), "dtype": torch.float32}


def test_a_reading_is_what_the_metrics_say_of_the_validation_views():
    method, feed = ToyMethod(dropout=0.5), ToyFeed()
    reading = read(method, feed, batch_size=6, **CPU)
    batch = feed.raw(0, feed.valid_rows, np.zeros(6, dtype=int), "valid")
    method.eval()
    with torch.no_grad():
        vectors = method.encoder(batch.left).numpy()
        heads = [method.head(method.encoder(view)) for view in (batch.left, batch.right)]
        assert reading.valid_loss == pytest.approx(nt_xent(*heads, temperature=0.5).item(), rel=1e-5)
    assert reading.effective_rank == pytest.approx(effective_rank(vectors), rel=1e-5)
    assert reading.std == pytest.approx(embedding_std(vectors), rel=1e-4)
    assert (reading.count, reading.dim) == (6, 8)


def test_it_repeats_and_leaves_the_weights_and_statistics_alone():
    method = ToyMethod()
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    assert read(method, ToyFeed(), batch_size=3, **CPU) == read(method, ToyFeed(), batch_size=3, **CPU)
    assert all(torch.equal(before[name], tensor) for name, tensor in method.state_dict().items())


def test_without_validation_rows_the_rank_of_training_rows_is_the_score():
    reading = read(ToyMethod(), ToyFeed(valid_rows=np.arange(0)), batch_size=6, **CPU)
    assert reading.valid_loss is None
    assert reading.count == 20
    assert reading.score(Criterion()) == reading.effective_rank
    assert reading.score(Criterion("embedding_std", more_is_better=True)) == reading.std


def test_a_lower_validation_loss_is_a_higher_score():
    low, high = (Reading(loss, 1.0, 0.1, 10, 8) for loss in (0.5, 0.7))
    assert low.score(Criterion()) > high.score(Criterion())


def test_a_method_may_name_another_quantity():
    thin, spread = Reading(0.5, 1.5, 0.1, 10, 8), Reading(0.7, 6.0, 0.2, 10, 8)
    for name in ("effective_rank", "embedding_std"):
        assert spread.score(Criterion(name, more_is_better=True)) > thin.score(Criterion(name, more_is_better=True))
        assert spread.score(Criterion(name)) < thin.score(Criterion(name))


def test_what_a_method_measures_is_a_mean_over_the_validation_rows():
    class Counting(ToyMethod):
        def measure(self, batch):
            return {"row": float(batch.group.double().mean())}

    feed = ToyFeed(valid_rows=np.arange(20, 25))
    reading = read(Counting(), feed, batch_size=2, **CPU)  # parts of three rows and of two
    assert reading.quantities["row"] == pytest.approx(22)
    assert read(ToyMethod(), feed, batch_size=2, **CPU).measured == {}


def test_parts_hold_as_many_patients_as_a_contrast_needs():
    class OfPatients(ToyFeed):
        def count_groups(self, rows):
            return len(np.unique(np.asarray(rows) // 4))

    class Counting(ToyMethod):
        least_groups = 2

        def valid_loss(self, batch):
            sizes.append(batch.group.tolist())
            return super().valid_loss(batch)

    sizes = []
    feed = OfPatients(valid_rows=np.arange(12, 24))
    for seed in range(20):
        read(Counting(), feed, batch_size=2, **(CPU | {"seed": seed}))
    assert all(len({row // 4 for row in rows}) > 1 for rows in sizes) and max(map(len, sizes)) > 3
    assert sorted(row for rows in sizes for row in rows) == sorted(20 * list(range(12, 24)))
    lone = OfPatients(valid_rows=np.arange(12, 16))
    assert read(Counting(), lone, batch_size=2, **CPU).valid_loss is None


def test_a_part_with_nothing_to_compare_is_in_no_mean():
    class Lone(ToyMethod):
        def valid_loss(self, batch):
            return None if 20 in batch.group else torch.tensor(0.5)

    feed = ToyFeed(valid_rows=np.arange(20, 24))
    assert read(Lone(), feed, batch_size=2, **CPU).valid_loss == 0.5
    assert read(Lone(), feed, batch_size=4, **CPU).valid_loss is None
