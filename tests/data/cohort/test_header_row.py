"""Titles and groups of columns above the header of a table."""

import pytest

from sidelight.commands.init import init, open_points
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.header_row import TitleRow
from sidelight.data.cohort.tables import read_table

HEADER = "patient;age;sex;diagnosis\n"
ROWS = "".join(f"p{k};{20 + k};{'fm'[k % 2]};{'ill' if k % 3 else 'healthy'}\n" for k in range(12))


@pytest.mark.parametrize(
    ("above", "row"),
    [
        ("Patients of 2020, as of 1 May\n", 2),
        ("Patients of 2020;;;\n", 2),
        ("Patients\n\nexported; by hand\n", 4),
        ("who;;;what\n", 2),
    ],
)
def test_a_row_above_the_header_is_told_and_passed_over(tmp_path, above, row):
    path = tmp_path / "t.csv"
    path.write_text(above + HEADER + ROWS)
    with pytest.raises(TitleRow, match=rf"row {row} all of them.*header = {row}") as error:
        read_table(path)
    assert error.value.row == row
    table = read_table(path, header=row)
    assert table.columns.tolist() == HEADER.strip().split(";")
    assert table["patient"].tolist()[::11] == ["p0", "p11"]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + ROWS,
        ";a;b\n0;x;y\n1;x;z\n",
        "id;;;\n1;2;3;4\n5;6;7;8\n",
        "a;b\nx;y\n",
        ";a\nx;y\n",
        "note\none\ntwo\n",
        "id;text;\n1;a;\n2;b;c\n",
    ],
)
def test_a_header_stays_a_header(tmp_path, text):
    (tmp_path / "t.csv").write_text(text)
    assert read_table(tmp_path / "t.csv").columns[0] == (text.split(";")[0] or "a").split("\n")[0]


@pytest.mark.parametrize("title", ["Diagnoses of 2023\n", "Diagnoses of 2023;\n"])
def test_a_title_over_two_columns(tmp_path, title):
    path = tmp_path / "t.csv"
    path.write_text(title + "patient;diagnosis\np1;ill\n")
    with pytest.raises(TitleRow, match=r"fills 1 of 2 columns, row 2 all of them.*header = 2"):
        read_table(path)
    assert read_table(path, header=2).to_dict("list") == {"patient": ["p1"], "diagnosis": ["ill"]}


def test_a_workbook_with_a_title(tmp_path):
    openpyxl = pytest.importorskip("openpyxl", reason="needs the extra 'excel'")
    book = openpyxl.Workbook()
    for line in ["Patients", "", *(HEADER + ROWS).splitlines()]:
        book.active.append(line.split(";"))
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(TitleRow, match="fills 1 of 4 columns, row 3"):
        read_table(tmp_path / "t.xlsx")
    assert read_table(tmp_path / "t.xlsx", header=3).columns.tolist() == HEADER.strip().split(";")


def test_init_writes_the_row_of_the_header_and_asks(tmp_path):
    for number in range(12):
        (tmp_path / f"p{number}").mkdir()
        for shot in (1, 2):
            (tmp_path / f"p{number}" / f"{shot}.png").touch()
    (tmp_path / "list.csv").write_text("Patients of 2020\n" + HEADER + ROWS)
    file = init(tmp_path)
    assert 'file = "list.csv", on = ["patient=patient"], header = 2}' in file.read_text()
    assert any("in list.csv, row 2 was taken for the header" in point for point in open_points(file))
    assert set(Cohort.open(tmp_path).items["diagnosis"]) == {"ill", "healthy"}
