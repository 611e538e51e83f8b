"""Two spellings of one patient are found; ids that only look alike to a careless eye are not; nothing is merged."""

import numpy as np
import pytest

from planted import opened, table, write
from sidelight.commands.check import Check
from sidelight.data.audit.audit import audit
from sidelight.data.audit.spellings import alike, bare, spelling_findings, spelling_notes
from sidelight.data.cells import visible
from sidelight.data.cohort.cohort import Cohort

ONE = [
    ("P001", "p001"), ("7", "007"), ("P001", "P 001"), ("P001", "P-001"), ("P001", "P\u200b001"), ("P001", "Ｐ００１"),
    ("100001", "1.00001e+05"), ("100000", "1E+05"), ("100001", "1,00001E+05"), ("P001", "p\u00a01"), ("12-3", "12_03"),
    ("007.0", "7"), ("STRASSE-1", "straße 1"), ("(P001)", "P001"), ("#12", "12"),
]  # fmt: skip
TWO = [
    ("1-2", "12"), ("1-12", "11-2"), ("1.2", "12"), ("P001-1", "P0011"), ("P1", "P10"), ("a01b1", "a1b01"), ("-1", "1"),
    ("A+", "A-"), ("2020-11-2", "2020-1-12"),
    ("---", "..."), ("1.5e+01", "1.5e+02"), ("1e03", "1000"), ("1.00001e+05", "1.00002e+05"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ONE)
def test_one_id_in_two_spellings(one, other):
    assert alike([one, other, "Q", one]) == [tuple(sorted((one, other)))]


@pytest.mark.parametrize(("one", "other"), TWO)
def test_two_ids_stay_two(one, other):
    assert alike([one, other]) == []


def test_sets_may_hold_several_and_schemes_of_numbers_hold_none():
    assert alike(["P01", "p01", "P1", "P2"]) == [("P01", "P1", "p01")]
    schemes = [
        [f"{site}-{number}" for site in range(1, 30) for number in range(1, 30)],
        [f"{number:04x}" for number in range(5000)],
        [str(number) for number in range(3000)],
        [f"{a}.{b}" for a in range(40) for b in range(40)],
        [f"site{a}_p{b}" for a in range(1, 30) for b in range(1, 30)],
    ]
    assert [alike(names) for names in schemes] == [[]] * len(schemes)
    assert bare("") == ""


@pytest.mark.parametrize("name", ["skin", "derm", "ultrasound", "knee", "chest"])
def test_no_phantom_has_an_alarm(name):
    assert spelling_findings(Cohort.open(f"phantom:{name}")) == []


def spelt(rows, change):
    """Every second photo of the first four patients under another spelling."""
    other = (rows.index % 2 == 1) & (rows.index < 8)
    return rows.assign(patient=np.where(other, rows["patient"].map(change), rows["patient"]))


def test_check_warns_and_what_it_says_works(tmp_path):
    root = write(tmp_path, spelt(table(12).assign(patient=lambda t: t["patient"].str.replace("p", "P0")), str.lower))
    split = opened(root)
    assert split.items["group"].nunique() == 16, "nothing is merged silently"
    (found,) = spelling_findings(split)
    assert (found.kind, found.severity, found.items[:2]) == ("ids", "warning", ("P00", "p00"))
    assert found.numbers == {"level": "patient", "ids": 16, "alike": 8, "sets": 4}
    assert "P00" not in found.sentence and 'from = "patient"' in found.sentence
    (note,) = spelling_notes(split)
    assert note.startswith("8 ids of 16 of level patient differ from another only in capitals")
    said = found.sentence.partition("under [derive] ")[2]
    derive, _, roles = said.partition(", under [roles] ")
    values = ", ".join(f'"{found.items[at + 1]}" = "{found.items[at]}"' for at in range(0, 8, 2))
    derive = derive.replace('"OTHER SPELLING" = "SPELLING"', values)
    (root / "cohort.toml").write_text(
        'files = "photos/{patient}/{photo}.png"\nlevels = ["patient"]\n'
        'tables = [{file = "table.csv", on = ["photo=photo"]}]\n'
        f"[derive]\n{derive}\n[roles]\n{roles}\n"
    )
    mended = Cohort.open(root)
    assert mended.items["group"].nunique() == 12 and spelling_findings(mended) == []
    assert len(mended.items) == 24 and (mended.items["diagnosis"] != "").all()


def test_ids_count_inside_their_parent_and_files_without_a_level_are_no_ids(tmp_path):
    rows = table(6).assign(lesion=["1", "01", *("a" if n % 2 else f"A{n}" for n in range(10))])
    root = write(tmp_path, rows)
    (found,) = spelling_findings(opened(root, levels=["patient", "lesion"]))
    assert found.numbers == {"level": "lesion", "ids": 12, "alike": 2, "sets": 1} and found.items == ("p0/01", "p0/1")
    blank = write(tmp_path / "blank", table(4).assign(who=["", "", "x", "x", "y", "y", "z", "z"]))
    (blank / "photos/p0/0_0.png").rename(blank / "photos/p0/0_01.png")
    assert spelling_findings(opened(blank, levels=["who"])) == []


def test_the_audit_has_it_by_hash_and_the_terminal_shows_what_cannot_be_seen(tmp_path):
    cohort = opened(write(tmp_path, spelt(table(12), lambda name: f"{name[0]}\u200b{name[1:]}")))
    (found,) = [one for one in audit(cohort) if one.kind == "ids"]
    said = Check("", {}, (found,), (), secret=cohort.key).to_json()
    assert "\\u200b" not in said and "p0" not in said
    assert [visible(name) for name in found.items[:2]] == ["p0", "p\\u200B0"]
