"""A table that would take the machine is refused before it is there."""

import gzip
import time
import tracemalloc

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

import sidelight
from sidelight.data.cohort import table_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.tables import read_table
from sidelight.errors import DataError

MB = 1 << 20


def refused(path, says, most=100 * MB):
    tracemalloc.start()
    with pytest.raises(DataError, match=says):
        read_table(path)
    assert tracemalloc.get_traced_memory()[1] < most
    tracemalloc.stop()


def test_columns_that_repeat_are_counted_as_often_as_they_stand_there(tmp_path, monkeypatch):
    monkeypatch.setattr(table_size, "MOST_BYTES", 50 * MB)
    cells = pa.array(["A" * 200] * 500_000).dictionary_encode()
    for number, column in enumerate((cells, cells.cast(pa.string()), cells.cast(pa.large_string()))):
        path = tmp_path / f"{number}.parquet"
        parquet.write_table(pa.table({"patient": column}), path)
        assert path.stat().st_size < MB
        refused(path, "GB of text, unpacked")
    path = tmp_path / "small.parquet"
    table = pa.table({"a": ["x", None, "y"], "n": [1, 2, None], "b": pa.array(["p", "p", None]).dictionary_encode()})
    parquet.write_table(table, path)
    assert read_table(path)["b"].tolist() == ["p", "p", ""]


def test_a_cell_far_from_the_others_makes_no_wide_table(tmp_path):
    openpyxl = pytest.importorskip("openpyxl")
    for number, rows in enumerate(((2, 3), (50_000,))):
        book = openpyxl.Workbook()
        for row in (("patient", "x"), ("P1", "1"), ("P2", "2")):
            book.active.append(row)
        for row in rows:
            book.active.cell(row, 16_384, "far")
        book.save(tmp_path / f"{number}.xlsx")
        began = time.process_time()
        with pytest.raises(DataError, match="16,384 columns wide, and 3 of them hold something"):
            read_table(tmp_path / f"{number}.xlsx")
        assert time.process_time() - began < 10  # about 1
    wide = openpyxl.Workbook()
    wide.active.append([f"gene {n}" for n in range(1500)])
    wide.active.append([str(n) for n in range(1500)])
    wide.save(tmp_path / "wide.xlsx")
    assert read_table(tmp_path / "wide.xlsx").shape == (1, 1500)


def test_what_gzip_unpacks_to_is_counted_and_not_held(tmp_path, monkeypatch):
    monkeypatch.setattr(table_size, "MOST_BYTES", 20 * MB)
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"patient,x\n" + b"P1,1\n" * (8 * MB)))
    refused(path, "GB of text", most=10 * MB)
    path.write_bytes(gzip.compress(b"patient,x\n" + b"P1,1\n" * 1000))
    assert len(read_table(path)) == 1000


def test_a_hundred_bytes_ask_for_no_gigabytes(tmp_path):
    pd.DataFrame({"a": range(20)}).to_csv(tmp_path / "a.csv", index=False)
    tracemalloc.start()
    read_table(tmp_path / "a.csv")
    assert tracemalloc.get_traced_memory()[1] < 10 * MB
    tracemalloc.stop()


def test_the_budget_that_the_user_gives_holds_for_tables(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").touch()
    (tmp_path / "t.csv").write_text("n,x\n" + "a,1\n" * 10 + "b," + "2" * 30_000 + "\n")
    (tmp_path / "cohort.toml").write_text('files = "{n}.png"\ntables = [{file = "t.csv", on = ["n"]}]\n')
    with pytest.raises(DataError, match=r"may have 0\.0 GB .*--set max_memory=GB"):
        Cohort.open(tmp_path, max_memory=0.0001)  # 100 kB: text of 16 kB
    study = tmp_path / "study.toml"
    study.write_text('title = "t"\n[sizes.cpu]\n[encoders.random]\n[parts.one]\ntask = "x"\n')
    given = {"data": str(tmp_path), "out": tmp_path / "out", "evaluate": {"max_memory": 0.0001}}
    with pytest.raises(DataError, match=r"study`: --set evaluate\.max_memory=GB"):
        sidelight.study(study, **given)
    assert len(Cohort.open(tmp_path, max_memory=0.001).items) == 2
