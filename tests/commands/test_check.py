"""The whole check: what it returns, writes, shows and costs; and that it gives no name away."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest

import sidelight
from planted import table, write
from sidelight.cli import main
from sidelight.commands.costs import cache_bytes, cost
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, SplitError
from sidelight.methods import METHODS
from sidelight.methods.simclr import SimCLR
from sidelight.reporting.check_page import check_line, check_tables

SMALL = {"encoder": "resnet10t", "image_size": 32, "batch_size": 8, "device": "cpu", "precision": "float32"}
COHORT = """
files = "photos/{patient}/{photo}.png"
tables = [{file = "table.csv", on = ["photo=photo"]}]
levels = ["patient"]
[metadata]
patient = ["age"]
[task.ill]
label = "diagnosis"
positive = ["ill"]
"""


@pytest.fixture
def torn(tmp_path):
    """Twelve patients, one with two ages, one broken file; names that must not leave the terminal."""
    rows = table(12).replace({"patient": {"p3": "Meier"}})
    rows.loc[rows["patient"] == "Meier", "age"] = ["30", "31"]
    root = write(tmp_path / "data", rows, pictures=True)
    (root / "cohort.toml").write_text(COHORT)
    (root / "photos" / "Meier" / "3_1.png").write_bytes(b"")
    return root


def checked(root, tmp_path, **settings):
    return sidelight.check(root, quick=True, cache=str(tmp_path / "cache"), **{**SMALL, **settings})


def test_a_check_in_python(torn, tmp_path):
    found = checked(torn, tmp_path)
    assert found.failed
    assert [(one.kind, one.severity) for one in found.findings] == [("conflict", "error"), ("file", "warning")]
    assert found.findings[0].items == ("Meier",)
    values = json.loads(found.to_json())
    assert values == found.to_dict()
    assert values["counts"]["files"]["unreadable"] == 1
    assert [one["method"] for one in values["costs"]] == list(METHODS)
    missing = {one["method"]: one["missing"] for one in values["costs"]}
    assert {name for name, lacks in missing.items() if lacks} == {
        "lovt",
        "clip",
        "convirt",
        "weak_labels",
        "local_sigmoid",
    }
    assert missing["lovt"].startswith("it needs reports")
    assert all(one["hours"] is None for one in values["costs"])
    assert "Meier" not in found.to_json() and "3_1" not in found.to_json()
    cohort = Cohort.open(torn, metadata={"conflict": "first"})
    broken = cohort.items["photo"].tolist().index("3_1")
    assert values["findings"][1]["items"] == [cohort.item_hash(broken)]
    assert values["findings"][1]["numbers"]["reasons"] == {"is empty (0 bytes). Copy it again or leave it out": 1}


def test_where_nothing_can_be_read_the_terminal_says_why(tmp_path):
    for n in range(4):
        np.savez(tmp_path / f"{n}.npz", left=np.full((4, 5), n, np.uint8), right=np.zeros((4, 5), np.uint8))
    (tmp_path / "cohort.toml").write_text('files = "{n}.npz"\n')
    found = sidelight.check(tmp_path, quick=True, quiet=True, **SMALL)
    assert found.failed
    assert "holds 2 arrays ('left', 'right')" in found.notices[-1] and "npz::left" in found.notices[-1]
    assert "0.npz" not in found.to_json()
    (tmp_path / "cohort.toml").write_text('files = "{n}.npz::left"\n')
    assert sidelight.check(tmp_path, quick=True, quiet=True, **SMALL).counts["files"]["bytes"] > 1000


def test_a_clean_cohort(tmp_path):
    root = write(tmp_path / "data", table(12), pictures=True)
    (root / "cohort.toml").write_text(COHORT)
    found = checked(root, tmp_path)
    assert (found.findings, found.failed) == ((), False)
    assert check_line(found.to_dict()) == "24 items in 12 groups: nothing found"
    assert "Findings" not in check_tables(found.to_dict())


def test_unknown_names_are_refused(torn, tmp_path):
    with pytest.raises(ConfigError, match="Did you mean 'ill'"):
        checked(torn, tmp_path, task="il")
    with pytest.raises(SplitError, match="neither a file nor a column"):
        checked(torn, tmp_path, split="no such")
    with pytest.raises(ConfigError, match=r"batch_sise.*Did you mean 'batch_size'"):
        checked(torn, tmp_path, batch_sise=3)


def called(monkeypatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["sidelight", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_the_command(torn, tmp_path, monkeypatch, capsys):
    words = ["check", str(torn), "--quick", "--cache", str(tmp_path / "cache"), "--set", "image_size=32"]
    files = ["--json", str(tmp_path / "c.json"), "--html", str(tmp_path / "c.html")]
    assert called(monkeypatch, *words, *files) == 1
    said = " ".join(capsys.readouterr().out.split())
    for part in (
        "conflict: 1 of 12 units",
        "for example Meier",
        "1 of 24 items cannot be used: is empty (0 bytes). Copy it again or leave it out",
        "1 error, 1 warning",
        "simclr",
    ):
        assert part in said
    page, text = (tmp_path / "c.html").read_text(), (tmp_path / "c.json").read_text()
    assert "conflict" in page and "Methods" in page
    for name in ("Meier", "3_1", str(tmp_path)):
        assert name not in page and name not in text
    (torn / "cohort.toml").write_text(COHORT.replace("[metadata]", '[metadata]\nconflict = "first"'))
    assert called(monkeypatch, *words) == 0
    assert called(monkeypatch, "check", str(tmp_path / "none")) == 2
    for option in ("--json", "--html", "--leaks", "--write-split"):
        assert called(monkeypatch, *words, "--split", "part", option, str(tmp_path)) == 2
        assert f"Give another place with {option}." in " ".join(capsys.readouterr().err.split())
    assert called(monkeypatch, *words, "--leaks", str(tmp_path / "leaks.xlsx")) == 2
    assert "the table of leaks is no XLSX file." in " ".join(capsys.readouterr().err.split())


def test_leaks_as_a_table_and_a_split_without_them(tmp_path, monkeypatch, capsys):
    rows = table(12).assign(part=["train", "test"] + ["train"] * 12 + ["test"] * 10)
    root = write(tmp_path / "data", rows, pictures=True)
    (root / "cohort.toml").write_text(COHORT)
    words = ["check", str(root), "--quick", "--cache", str(tmp_path / "cache"), "--set", "image_size=32"]
    out = tmp_path / "mended.json"
    assert called(monkeypatch, *words, "--write-split", str(out)) == 2
    assert "--write-split mends a given split" in capsys.readouterr().err and not out.exists()
    more = ["--leaks", str(tmp_path / "leaks.csv"), "--write-split", str(out)]
    assert called(monkeypatch, *words, "--split", "part", *more) == 1
    (leak,) = pd.read_csv(tmp_path / "leaks.csv").to_dict("records")
    assert (leak["kind"], leak["of"], leak["unit"]) == ("leak", "patient", "p0")
    assert {leak["first"], leak["second"]} == {"photos/p0/0_0.png", "photos/p0/0_1.png"}
    assert "1 item moved" in capsys.readouterr().out and out.stat().st_mode & 0o777 == 0o600
    assert called(monkeypatch, *words, "--split", str(out)) == 0
    before = out.read_bytes()
    assert called(monkeypatch, *words, "--split", str(out), "--write-split", str(out)) == 2
    assert "would replace the split that is checked" in capsys.readouterr().err and out.read_bytes() == before


def test_every_method_is_timed(tmp_path, monkeypatch):
    monkeypatch.setattr("sidelight.commands.costs.cost", partial(cost, steps=1))
    data = "phantom:ultrasound?patients=10&clips=2&frames=4&size=32"
    steps = {"epochs": 5, "max_frames": 4, "pairs_per_clip": 2}
    found = sidelight.check(data, quiet=True, cache=str(tmp_path), **SMALL, **steps)
    assert found.findings == ()
    assert [one.method for one in found.costs] == list(METHODS)
    for one in found.costs[:2]:
        assert one.missing == "" and one.device == "cpu"
        assert one.steps >= 5 and 0 < one.seconds_per_step < 10 and one.memory_bytes > 50e6
        assert one.hours == pytest.approx(one.steps * one.seconds_per_step / 3600)
        assert one.cache_bytes == 20 * 4 * 40 * 40
    tables = check_tables(found.to_dict())
    assert tables["Methods"].rows[0][:2] == ("simclr", "0.128 MB")
    assert "lovt, clip, convirt, weak_labels, local_sigmoid" in [
        row[0] for row in tables["Methods that this cohort cannot feed"].rows
    ]


def test_what_a_method_lacks_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(SimCLR, "needs", classmethod(lambda cls, cohort: "It needs a report per image."))
    data = "phantom:ultrasound?patients=2&clips=1&frames=2&size=32"
    simclr, meta = sidelight.check(data, quiet=True, cache=str(tmp_path), **SMALL).costs[:2]
    assert (simclr.missing, simclr.hours) == ("It needs a report per image.", None)
    assert "too few" in meta.missing and meta.hours is None


def test_cache_bytes_of_16_bit_clips():
    import pandas as pd

    class Pixels:
        channels = 3
        index = pd.DataFrame({"frames": [2, 1], "dtype": ["uint16", "uint8"]})

    assert cache_bytes(Pixels(), 10) == (2 * 2 + 1) * 3 * 100


def test_methods_on_reports_are_timed_where_there_are_reports(tmp_path, monkeypatch):
    monkeypatch.setattr("sidelight.commands.costs.cost", partial(cost, steps=1))
    values = {**SMALL, "text": {"width": 16, "layers": 1, "heads": 2}, "hidden": 16, "dim": 8}
    for patients, fits in ((24, True), (6, False)):
        data = f"phantom:chest?patients={patients}&studies=1&size=32"
        costs = {one.method: one for one in sidelight.check(data, quiet=True, cache=str(tmp_path), **values).costs}
        for name in ("lovt", "clip", "convirt", "local_sigmoid"):
            assert (costs[name].missing == "") == fits, costs[name]
            assert ("20 patients" in costs[name].missing) != fits


def test_of_many_classes_the_largest_are_shown_and_the_others_counted():
    rows = [{"task": "t", "unit": "item", "class": f"c{n}", "units": 100 - n, "groups": 1} for n in range(40)]
    counts = {"levels": [], "views": [], "tables": [], "files": {"bytes": 0}, "items": 0, "groups": 0}
    for some, last in ((rows[:30], "c29"), (rows, "30 others of 61 to 90 units")):
        table = check_tables({"counts": {**counts, "tasks": some}, "findings": [], "costs": []})["Tasks"]
        assert table.rows[-1][1] == last and table.rows[0][1] == "c0"
    assert len(table.rows) == 11 and table.rows[-1][2:] == ("item", f"{sum(range(61, 91)):,}", "–")


def test_pixels_are_read_before_torch_is_loaded(torn, tmp_path):
    """Both are large; together they would be the peak."""
    code = (
        "import sys, sidelight.commands.check as c\n"
        "real = c.same_pictures\n"
        "c.same_pictures = lambda *given: (print('torch' in sys.modules), real(*given))[1]\n"
        "c.check(sys.argv[1], quick=True, quiet=True, image_size=32, cache=sys.argv[2])\n"
        "print('torch' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, torn, tmp_path / "cache"], capture_output=True, text=True)
    assert done.stdout.split() == ["False", "True"], done.stderr
