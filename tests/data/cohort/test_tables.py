import sys
from datetime import date, datetime

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from sidelight.commands.check import check
from sidelight.data.cells import normalise
from sidelight.data.cohort import table_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.tables import join, read_table
from sidelight.errors import DataError, MissingExtra

try:
    import openpyxl
except ImportError:
    openpyxl = None
needs_excel = pytest.mark.skipif(openpyxl is None, reason="needs the extra 'excel'")

TEXT = "id;größe;note\n007;3,5;„fünf“\n008;1.234,25;a, b\n"


def write(tmp_path, data, name="t.csv"):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_detected(tmp_path, encoding):
    table = read_table(write(tmp_path, TEXT.encode(encoding)))
    assert table.columns.tolist() == ["id", "größe", "note"]
    assert table["note"].tolist() == ["„fünf“", "a, b"]
    assert table["id"].tolist() == ["007", "008"]


def test_a_given_encoding_wins(tmp_path):
    path = write(tmp_path, "id,n\n1,\xe4\x81\n".encode("latin-1"))
    assert read_table(path, encoding="latin-1")["n"].tolist() == ["\xe4\x81"]
    assert read_table(write(tmp_path, "id,n\n1,é\n", "u.csv"), encoding="cp1252")["n"].tolist() == ["Ã©"]
    with pytest.raises(DataError, match="Unknown encoding"):
        read_table(path, encoding="utf-99")
    with pytest.raises(DataError, match="not encoded in utf-8"):
        read_table(path, encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [("id,n\n1,меланома\n2,невус\n", "cp1251"), ("id,n\n1,所見：心拡大を認める。\n", "cp932"), ("id,n\n1,ﾒﾗﾉｰﾏ\n", "cp932"),
     ("id,n\n1,黑色素瘤\n", "gb18030")],
)  # fmt: skip
def test_an_encoding_that_is_not_known_is_asked_for(tmp_path, text, encoding):
    path = write(tmp_path, text.encode(encoding))
    with pytest.raises(DataError, match=rf"Line 2 of the table t.csv is neither.*encoding = .*{encoding}"):
        read_table(path)
    first = text.split("\n")[1].removeprefix("1,")
    language = {"cp1251": "ru", "cp932": "ja", "gb18030": "zh"}[encoding]
    assert [read_table(path, **known)["n"].iloc[0] for known in ({"encoding": encoding}, {"language": language})] == [
        first
    ] * 2


@pytest.mark.parametrize(
    "text", ["id;ort\n1;Größe\n2;Üöä\n3;Straße\n4;„Köln“ – €5\n", "id;ort\n1;Œuvre à Évian, été\n"]
)
def test_western_tables_need_no_encoding(tmp_path, text):
    assert read_table(write(tmp_path, text.encode("cp1252")))["ort"].tolist()[-1] == text.rstrip().rpartition(";")[2]


@pytest.mark.parametrize("word", ["Nävus", "Größe", "Fuß, höher", "Ödem", "Übelkeit, müde", "nævus på arm"])
def test_a_table_of_ms_dos_is_asked_about(tmp_path, word):
    """Its umlauts are quotation marks in Windows-1252, or nothing."""
    path = write(tmp_path, f"id;n\n1;{word}\n".encode("cp850"))
    with pytest.raises(DataError, match=r'Line 2 of the table t.csv is neither.*encoding = "cp850" \(MS-DOS\), '):
        read_table(path)
    assert read_table(path, encoding="cp850")["n"].tolist() == [word]


@pytest.mark.parametrize("ends", [";", "; ;"])
def test_separators_at_the_end_of_rows_are_no_cells(tmp_path, ends):
    table = read_table(write(tmp_path, f"a;b;c\n1;x;2,5{ends}\n\n2;y;{ends}\n3;z;4,5\n"))
    assert table.to_dict("list") == {"a": ["1", "2", "3"], "b": ["x", "y", "z"], "c": ["2.5", "", "4.5"]}


def test_a_row_that_is_longer_than_the_header_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Line 4 of the table t.csv has 4 cells, and its first row 3\..*header = 2\."):
        read_table(write(tmp_path, "of 2023;a;b\nid;x;y\n1;2;3;\n2;3;4;5\n"))
    with pytest.raises(DataError, match=r"Line 5 of the table t.csv has 4 cells, and its first row 3\."):
        read_table(write(tmp_path, "sep=;\nof 2023\nid;x;y\n1;2;3;\n2;3;4;5\n"), header=2)


def test_one_bad_byte_names_its_line(tmp_path):
    path = write(tmp_path, b"id,n\n1,K\xc3\xb6ln\n2,M\xc3\xbcnchen\n3,K\xf6ln\n")
    with pytest.raises(
        DataError, match=r"Line 4 of the table t.csv is not UTF-8, while the rest of it is \(1 of 3 signs\)"
    ):
        read_table(path)
    with pytest.raises(DataError, match=r"not encoded in utf-8 \(line 4\)"):
        read_table(path, encoding="utf-8")


def test_lines_may_end_in_carriage_returns(tmp_path):
    assert read_table(write(tmp_path, b"a,b\r1,2\r3,4\r")).to_dict("list") == {"a": ["1", "3"], "b": ["2", "4"]}
    assert read_table(write(tmp_path, b"a,b\n1,two\rlines\n3,4\n"))["b"].tolist() == ["two lines", "4"]


def test_a_last_row_that_is_cut_short(tmp_path):
    with pytest.raises(
        DataError, match=r"last row of the table t.csv has 2 cells, all before it 3, and the file ends in it"
    ):
        read_table(write(tmp_path, "a,b,c\n1,2,3\n4,5"))
    assert read_table(write(tmp_path, "a,b,c\n1,2,3\n4,5\n"))["c"].tolist() == ["3", ""]  # whole, with a blank cell
    assert read_table(write(tmp_path, "a,b,c\n1,2\n4,5"))["c"].tolist() == ["", ""]  # a file that leaves blanks out


def test_blanks_that_repeat_the_cell_above(tmp_path):
    path = write(tmp_path, "pid,image\nP1,1\n,2\nP2,3\n,4\n")
    assert read_table(path, fill=["pid"])["pid"].tolist() == ["P1", "P1", "P2", "P2"]
    with pytest.raises(DataError, match=r"which `fill` names.*Did you mean 'pid'"):
        read_table(path, fill=["pidd"])


def test_decimal_commas_become_points_only_where_the_column_is_numbers(tmp_path):
    table = read_table(write(tmp_path, "a;b;c;d\n3,5;1,2;12;x\n;x;13;1,5\n1.000,25;3;14;\n"))
    assert table["a"].tolist() == ["3.5", "", "1000.25"]
    assert table["b"].tolist() == ["1.2", "x", "3"]
    assert table["c"].tolist() == ["12", "13", "14"]
    assert table["d"].tolist() == ["x", "1,5", ""]
    quoted = 'a,b\n"1,234",2\n'
    assert read_table(write(tmp_path, quoted))["a"].tolist() == ["1,234"]
    assert read_table(write(tmp_path, quoted), decimal=",")["a"].tolist() == ["1.234"]
    assert read_table(write(tmp_path, "a;b\n1,5;2\n"), decimal=".")["a"].tolist() == ["1,5"]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_separators_are_detected(tmp_path, separator):
    rows = [["id", "text", "n"], ["1", '"a,b;c|d"', "2"], ["2", "e", "3"]]
    table = read_table(write(tmp_path, "\n".join(separator.join(row) for row in rows)))
    assert table.to_dict("list") == {"id": ["1", "2"], "text": ["a,b;c|d", "e"], "n": ["2", "3"]}


def test_header_oddities(tmp_path):
    table = read_table(write(tmp_path, "sep=;\n id ;x;;x\n 1 ;a;;b\n;;;\n2;c\n"))
    assert table.to_dict("list") == {"id": ["1", "2"], "x": ["a", "c"], "x.2": ["b", ""]}
    assert read_table(write(tmp_path, "id\n01\n"))["id"].tolist() == ["01"]


def test_bad_tables_are_named(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"t\.csv"):
        read_table(write(tmp_path, "a,b\n1,2\n1,2,3\n"))
    with pytest.raises(DataError, match=r"t\.csv"):
        read_table(write(tmp_path, b""))
    with pytest.raises(DataError, match=r"Save it as \.xlsx or CSV"):
        read_table(write(tmp_path, b"PK", "t.ods"))
    with pytest.raises(DataError, match="Parquet"):
        read_table(write(tmp_path, b"no", "t.parquet"))


def test_parquet_comes_as_the_same_text(tmp_path):
    frame = pd.DataFrame(
        {"id": [7.0, None], "n": [1, 2], "x": [1.5, 2.0], "on": [True, False], "s": ["007", None]}
    ).assign(day=pd.to_datetime(["2020-01-31", None]))
    frame.to_parquet(tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet").to_dict("list") == {
        "id": ["7", ""],
        "n": ["1", "2"],
        "x": ["1.5", "2"],
        "on": ["True", "False"],
        "s": ["007", ""],
        "day": ["2020-01-31", ""],
    }


def workbook(path, **sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


@needs_excel
def test_a_workbook_comes_as_the_same_text(tmp_path):
    rows = [
        [None, None],
        ["id", "day", "at", "x", "on", "", " name ", "x"],
        ["007", datetime(2020, 1, 31), datetime(2020, 1, 31, 12, 30), 7.0, True, "lost", " Müller ", 0.1],
        [None, " "],
        [8, date(2021, 2, 1), None, 1.25, False, None, "#N/A"],
    ]
    assert read_table(workbook(tmp_path / "t.xlsx", first=rows, second=[["a"], [1]])).to_dict("list") == {
        "id": ["007", "8"],
        "day": ["2020-01-31", "2021-02-01"],
        "at": ["2020-01-31T12:30:00", ""],
        "x": ["7", "1.25"],
        "on": ["True", "False"],
        "name": ["Müller", ""],
        "x.2": ["0.1", ""],
    }


@needs_excel
def test_decimal_commas_in_a_workbook_are_text_that_somebody_typed(tmp_path):
    path = workbook(tmp_path / "t.xlsx", s=[["a", "b"], ["3,5", "1,5"], [1.234, "x"], ["1.000,25", 2]])
    assert read_table(path)["a"].tolist() == ["3.5", "1.234", "1000.25"]
    assert read_table(path)["b"].tolist() == ["1,5", "x", "2"]
    assert read_table(path, decimal=".")["a"].tolist() == ["3,5", "1.234", "1.000,25"]


@needs_excel
def test_merged_cells_are_filled(tmp_path):
    path = workbook(
        tmp_path / "t.xlsx", s=[["pid", "dx", "n"], ["P1", "a", 1], [None, "b", 2], ["P2", None, 3], ["P3", "c", 4]]
    )
    book = openpyxl.load_workbook(path)
    for cells in ("A2:A3", "A4:B4"):
        book["s"].merge_cells(cells)
    book.save(path)
    table = read_table(path)
    assert table.to_dict("list") == {
        "pid": ["P1", "P1", "P2", "P3"],
        "dx": ["a", "b", "P2", "c"],
        "n": ["1", "2", "3", "4"],
    }


@needs_excel
def test_sheets_by_name(tmp_path):
    path = workbook(tmp_path / "t.xlsx", lesions=[["a"], [1]], patients=[["b"], [2]], empty=[])
    assert read_table(path)["a"].tolist() == ["1"]
    assert read_table(path, sheet="patients")["b"].tolist() == ["2"]
    with pytest.raises(DataError, match=r"t\.xlsx has no sheet 'patient'. Did you mean 'patients'"):
        read_table(path, sheet="patient")
    with pytest.raises(DataError, match="is empty"):
        read_table(path, sheet="empty")
    with pytest.raises(DataError, match=r"t\.csv has no sheets"):
        read_table(write(tmp_path, "a\n1\n"), sheet="lesions")


@needs_excel
def test_workbooks_that_cannot_be_read(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r"t\.xlsx cannot be read as an Excel workbook.*password"):
        read_table(write(tmp_path, b"\xd0\xcf\x11\xe0", "t.xlsx"))
    path = workbook(tmp_path / "t.xlsx", s=[["a"], [1]])
    monkeypatch.setattr(table_size, "MOST_BYTES", 100)
    with pytest.raises(DataError, match="unpacks to"):
        read_table(path)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtra, match=r"pip install 'sidelight\[excel\]'"):
        read_table(path)


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "parquet"])
def test_tables_that_hold_too_much_are_not_unpacked(tmp_path, monkeypatch, suffix):
    path, frame = tmp_path / f"t.{suffix}", pd.DataFrame({"a": ["x" * 500] * 20})
    frame.to_parquet(path) if suffix == "parquet" else frame.to_csv(path, index=False)
    assert len(read_table(path)) == 20
    monkeypatch.setattr(table_size, "MOST_BYTES", 400)
    with pytest.raises(DataError, match=r"holds more than|unpacks to"):
        read_table(path)


def test_keys_as_text():
    cases = {"007": "007", "7.0": "7", " 7 ": "7", "7.00": "7", "0.0": "0", "007.0": "007.0", "7.50": "7.50", "": ""}
    assert {key: normalise(key) for key in cases} == cases
    assert [normalise(value) for value in (7.0, 7, None, float("nan"), True)] == ["7", "7", "", "", "True"]


ITEMS = pd.DataFrame({"item": ["a", "b", "c"], "patient": ["7", "007", "8"], "lesion": ["1", "1", ""]}, dtype=str)


def joined(table, right=("pid",), left=("patient",)):
    frame = pd.DataFrame(table, dtype=str)
    return join(ITEMS, frame, [ITEMS[name] for name in left], list(right), "t.csv")


def test_join_keeps_leading_zeros_apart_and_reports_what_met_nothing():
    items, notices = joined({"pid": ["7.0", "007", "9"], "age": ["70", "60", "50"]})
    assert items["age"].tolist() == ["70", "60", ""]
    assert "pid" not in items
    assert notices == [
        "1 of 3 items have no row in t.csv, for example '8'",
        "1 rows of t.csv belong to no item, for example '9'",
    ]


def test_join_by_two_keys_never_through_a_blank():
    items, notices = joined(
        {"pid": ["7", "8", "007"], "nr": ["1", "", "1"], "x": ["p", "q", "r"]}, ("pid", "nr"), ("patient", "lesion")
    )
    assert items["x"].tolist() == ["p", "r", ""]
    assert "1 of 3 items" in notices[0]


def test_repeated_keys():
    twice = {"pid": ["7", "7.0", "9", "9"], "age": ["70", "70", "1", "2"]}
    assert joined(twice)[0]["age"].tolist() == ["70", "", ""]  # equal rows collapse; 9 joins to no item
    with pytest.raises(DataError, match=r"2 rows for '7' that differ in age \('70', '71'\)"):
        joined({"pid": ["7", "7"], "age": ["70", "71"]})


def test_nothing_joins():
    with pytest.raises(DataError, match=r"No item has a row in t\.csv: the items say for example '7', .* pid 'P7'"):
        joined({"pid": ["P7"], "age": ["1"]})


def test_columns_that_are_there_already():
    same, notices = joined({"pid": ["7", "007"], "lesion": ["1", "1"], "group": ["x", "y"]})
    assert same.columns.tolist() == ["item", "patient", "lesion", "t.group"]
    assert len(notices) == 1
    other, notices = joined({"pid": ["7", "007", "8"], "lesion": ["2", "1", "3"]})
    assert other["lesion"].tolist() == ["1", "1", ""]
    assert other["t.lesion"].tolist() == ["2", "1", "3"]
    assert "'lesion' is there already" in notices[0]


def test_rows_without_a_key_are_counted_and_said(tmp_path):
    """As Excel leaves merged cells: of each patient's two rows the second has no id."""
    for k in range(1, 5):
        (tmp_path / f"{k}").mkdir()
        Image.fromarray(np.full((32, 32), 40 * k, np.uint8)).save(tmp_path / f"{k}/left.png")
    rows = [
        f"{k if side == 'left' else ''},{side},{'ill' if k % 2 else 'well'}"
        for k in range(1, 5)
        for side in ("left", "right")
    ]
    (tmp_path / "d.csv").write_text("\n".join(["patient,side,dx", *rows]))
    (tmp_path / "cohort.toml").write_text(
        'files = "{patient}/{image}.png"\ntables = [{file = "d.csv", on = ["patient=patient"]}]\nlevels = ["patient"]\n'
        '[task.dx]\nlabel = "dx"\n'
    )
    said = "4 of 8 rows of d.csv have no key (patient is blank) and are not used"
    assert any(notice.startswith(said) for notice in Cohort.open(tmp_path).notices)
    found = [one for one in check(tmp_path, quick=True).findings if one.kind == "join"]
    assert [(one.severity, one.sentence.startswith(said)) for one in found] == [("warning", True)]
    filled = (
        (tmp_path / "cohort.toml")
        .read_text()
        .replace('on = ["patient=patient"]', 'on = ["patient=patient", "image=side"], fill = ["patient"]')
    )
    (tmp_path / "cohort.toml").write_text(filled)
    assert not any("no key" in notice for notice in Cohort.open(tmp_path).notices)
