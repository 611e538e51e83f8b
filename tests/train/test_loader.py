import numpy as np
import pytest
import torch

from sidelight.errors import ConfigError, TrainingError
from sidelight.train.distributed import World
from sidelight.train.loader import Timetable, plan, stream
from training_toys import ToyFeed

ROWS = np.arange(100, 123)


def test_an_epoch_holds_every_draw_of_every_row_once_but_the_incomplete_end():
    batches = plan(0, 0, ROWS, 3, 7)
    pairs = {(int(r), int(d)) for rows, draws in batches for r, d in zip(rows, draws, strict=True)}
    assert [len(rows) for rows, _ in batches] == [7] * 9
    assert len(pairs) == 63
    assert pairs <= {(r, d) for r in ROWS for d in range(3)}


def test_the_plan_depends_on_seed_and_epoch_and_on_nothing_else():
    first = [np.stack(batch) for batch in plan(0, 0, ROWS, 2, 7)]
    assert np.array_equal(first, [np.stack(batch) for batch in plan(0, 0, ROWS, 2, 7)])
    assert not np.array_equal(first, [np.stack(batch) for batch in plan(0, 1, ROWS, 2, 7)])
    assert not np.array_equal(first, [np.stack(batch) for batch in plan(1, 0, ROWS, 2, 7)])


def test_a_batch_repeats_no_clip_within_a_draw():
    for rows, draws in plan(0, 0, ROWS, 2, 7):
        assert all(len(set(rows[draws == draw])) == (draws == draw).sum() for draw in set(draws))


def test_a_single_incomplete_batch_is_kept():
    ((rows, _),) = plan(0, 0, ROWS[:5], 1, 7)
    assert sorted(rows) == sorted(ROWS[:5])


def test_the_incomplete_end_counts_where_the_feed_says_so():
    """derm7pt's 413 lesions in batches of 256 are two steps an epoch, 300 in 150 epochs."""
    lesions = np.arange(413)
    assert [len(rows) for rows, _ in plan(0, 0, lesions, 1, 256)] == [256]
    batches = plan(0, 0, lesions, 1, 256, drop_last=False)
    assert [len(rows) for rows, _ in batches] == [256, 157]
    assert sorted(np.concatenate([rows for rows, _ in batches])) == lesions.tolist()
    assert np.array_equal(batches[0][0], plan(0, 0, lesions, 1, 256)[0][0])
    table = Timetable(ToyFeed(train_rows=lesions, drop_last=False), seed=0, batch_size=256)
    assert 150 * table.per_epoch == 300 and len(table.names(3)) == 157
    # nine batches of 48, two of them a step: the last step has one
    many = Timetable(ToyFeed(train_rows=lesions, drop_last=False), seed=0, batch_size=48, accumulate=2)
    assert many.per_epoch == 5 and [len(many.batches(step)) for step in range(6)] == [2, 2, 2, 2, 1, 2]
    assert Timetable(ToyFeed(train_rows=lesions), seed=0, batch_size=48, accumulate=2).per_epoch == 4


def test_the_incomplete_end_is_shared_evenly_or_left_out():
    shares = [plan(0, 0, np.arange(413), 1, 256, 2, rank, drop_last=False) for rank in range(2)]
    assert [len(rows) for one in shares for rows, _ in one] == [128, 78, 128, 78]
    assert len({row for one in shares for rows, _ in one for row in rows}) == 412
    assert [len(plan(0, 0, np.arange(n), 1, 8, drop_last=False)) for n in (16, 17, 18)] == [2, 2, 3]
    assert [len(plan(0, 0, np.arange(n), 1, 8, 2, drop_last=False)) for n in (18, 19, 20)] == [2, 2, 3]


def test_slices_of_the_processes_in_rank_order_are_the_batch_of_one():
    whole = plan(3, 2, ROWS, 2, 6)
    parts = [plan(3, 2, ROWS, 2, 6, world=3, rank=rank) for rank in range(3)]
    for batch, *slices in zip(whole, *parts, strict=True):
        for which in (0, 1):
            assert np.array_equal(batch[which], np.concatenate([part[which] for part in slices]))


def test_accumulation_takes_several_batches_per_step():
    table = Timetable(ToyFeed(), seed=0, batch_size=4, accumulate=2)
    assert (table.per_epoch, table.per_step, table.contrast) == (2, 2, 4)
    rows = np.concatenate([rows for step in (0, 1) for rows, _ in table.batches(step)])
    assert np.array_equal(rows, np.concatenate([rows for rows, _ in plan(0, 0, ToyFeed().train_rows, 1, 4)][:4]))
    few = Timetable(ToyFeed(), seed=0, batch_size=10, accumulate=5)
    assert (few.per_epoch, few.per_step) == (1, 2)


def test_extra_pairs_come_by_step_from_their_own_rows():
    table = Timetable(ToyFeed(), seed=0, batch_size=3)
    extras = [table[step][0].extra.group.tolist() for step in (0, 1, 2, 3, 0)]
    assert extras[0] == extras[4]
    assert len({tuple(extra) for extra in extras}) > 1
    assert all(len(set(extra)) == 3 and set(extra) <= set(range(26, 30)) for extra in extras)
    assert Timetable(ToyFeed(extra_rows=np.arange(0)), seed=0, batch_size=3)[0][0].extra is None


def test_names_are_those_of_all_processes():
    table = Timetable(ToyFeed(), seed=0, batch_size=4, world=World(rank=1, size=2))
    rows = plan(0, 0, ToyFeed().train_rows, 1, 4)[2][0]
    assert table.names(2) == [f"item{row}" for row in rows]
    assert np.array_equal(table.batches(2)[0][0], rows[2:])
    few = ToyFeed(train_rows=np.arange(19), drop_last=False)  # three are too few for two processes: two steps an epoch
    table = Timetable(few, seed=0, batch_size=8, world=World(rank=0, size=2))
    assert table.names(2) == few.names(plan(0, 1, np.arange(19), 1, 8)[0][0])


def test_workers_change_nothing():
    def seen(workers):
        table = Timetable(ToyFeed(draws=2), seed=0, batch_size=8)
        work = list(stream(table, 3, 12, workers=workers, device=torch.device("cpu")))
        assert [item.step for item in work] == list(range(3, 12))
        assert all(item.waited >= 0 for item in work)
        return torch.stack([item.pieces[0].pairs.left for item in work]), [item.pieces[0].extra.group for item in work]

    (alone, extra), (helped, helped_extra) = seen(0), seen(2)
    assert torch.equal(alone, helped)
    assert all(torch.equal(a, b) for a, b in zip(extra, helped_extra, strict=True))


def test_too_few_pairs_and_uneven_processes_are_refused():
    with pytest.raises(TrainingError, match=r"1 training pairs.*pairs_per_clip"):
        Timetable(ToyFeed(train_rows=np.arange(1)), seed=0, batch_size=4)
    with pytest.raises(ConfigError, match="batch_size = 5 on 2 processes"):
        Timetable(ToyFeed(), seed=0, batch_size=5, world=World(size=2))
