import errno
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from sidelight import files
from sidelight.errors import ConfigError, RunError
from sidelight.files import (
    append_line,
    check_place,
    check_suffix,
    explained,
    filling,
    held,
    locked,
    replacing,
    write_arrays,
    write_bytes,
    write_csv,
    write_first,
    write_json,
    write_table,
    write_text,
)

needs_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")


def test_a_file_appears_whole_and_nothing_is_left_beside_it(tmp_path):
    write_text(tmp_path / "deep" / "a.json", "{}")
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.json"]
    assert (tmp_path / "deep" / "a.json").read_text() == "{}"


def test_a_private_file_and_the_folder_made_for_it_are_its_owners(tmp_path):
    path = write_text(tmp_path / "mine" / "a.html", "é\ud800", private=True)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert path.read_bytes() == "é?".encode()
    before = tmp_path.stat().st_mode
    write_text(tmp_path / "b.html", "", private=True)
    assert tmp_path.stat().st_mode == before


def test_the_old_file_stays_while_the_new_one_is_written_and_when_that_fails(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            assert path.read_text() == "old"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_every_door_writes_what_is_read_back_and_returns_its_path(tmp_path):
    table = pd.DataFrame({"name": ["ä", "b"], "value": [0.5, np.nan]}, index=[7, 8])
    pd.testing.assert_frame_equal(
        pd.read_parquet(write_table(tmp_path / "a.parquet", table)), table.reset_index(drop=True)
    )
    pd.testing.assert_frame_equal(pd.read_csv(write_csv(tmp_path / "a.tsv", table)), table.reset_index(drop=True))
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(load_file(write_arrays(tmp_path / "a.safetensors", {"x": turned}))["x"], turned)
    assert write_bytes(tmp_path / "a.bin", b"\r\n").read_bytes() == b"\r\n"
    assert json.loads(write_json(tmp_path / "a.json", {"path": Path("x")}).read_text()) == {"path": "x"}
    assert not list(tmp_path.glob("*.tmp"))


def test_two_processes_may_write_a_private_file_at_once(tmp_path):
    path = tmp_path / "a.bin"
    with replacing(path, private=True) as one, replacing(path, private=True) as other:
        assert one != other
        one.write_bytes(b"1")
        other.write_bytes(b"2")
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_filled_with_all_of_its_files_or_with_none(tmp_path):
    with filling(tmp_path / "out") as place:
        write_bytes(place / "a" / "one", b"1")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "a" / "one").read_bytes() == b"1" and [*tmp_path.iterdir()] == [tmp_path / "out"]

    def stopped():
        with filling(tmp_path / "out") as place:
            write_bytes(place / "a" / "one", b"2")
            write_bytes(place / "two", b"2")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        stopped()
    assert (tmp_path / "out" / "a" / "one").read_bytes() == b"1" and [*tmp_path.iterdir()] == [tmp_path / "out"]


def test_what_an_earlier_list_names_goes_and_nothing_else(tmp_path):
    out = tmp_path / "out"

    def fill(*names):
        with filling(out, listed=".list.json") as place:
            for name in names:
                write_bytes(place / name, name.encode())

    def there():
        return {one.relative_to(tmp_path).as_posix() for one in tmp_path.rglob("*") if one.is_file()}

    fill("a/b/one", "two")
    (out / "mine").write_text("")
    (tmp_path / "beside").write_text("")
    assert json.loads((out / ".list.json").read_text()) == ["a/b/one", "two"]
    with pytest.raises(ValueError, match="stop"), filling(out, listed=".list.json"):
        raise ValueError("stop")
    fill("two", "c/three")
    assert there() == {"out/two", "out/c/three", "out/mine", "out/.list.json", "beside"} and not (out / "a").exists()
    for damaged in ('["two", "../beside", "", 3, "/etc/passwd"]', "{", '{"two": 1}', "\xff"):
        (out / ".list.json").write_bytes(damaged.encode("latin-1"))
        fill("four")
    assert there() == {"out/four", "out/c/three", "out/mine", "out/.list.json", "beside"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_the_first_of_two_processes_that_make_a_key_wins(tmp_path, monkeypatch, links):
    def refuse(source, target):
        raise PermissionError(1, "no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "home" / "key"
    write_first(path, b"first")
    assert (path.read_bytes(), path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (
        b"first",
        0o600,
        0o700,
    )
    if links:
        write_first(path, b"second")
        assert path.read_bytes() == b"first"
    assert list(path.parent.iterdir()) == [path]


def test_a_log_grows_by_lines(tmp_path):
    for line in ("a", "b"):
        append_line(tmp_path / "log", line)
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_a_lock_is_held_by_one_at_a_time(tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with locked(tmp_path / ".lock"), (tmp_path / ".lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with locked(tmp_path / ".lock"):
        pass


@needs_full
def test_a_full_disk_is_a_run_error_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    (tmp_path / "a.txt.tmp").symlink_to("/dev/full")
    with pytest.raises(RunError, match=r"disk is full.*last checkpoint"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_other_errors_pass_through():
    with pytest.raises(PermissionError), explained(Path("x")):
        raise PermissionError(13, "no")


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path):
    (tmp_path / "file").touch()
    for folder in (True, False):
        check_place(tmp_path / "new" / "deep", folder=folder)
        with pytest.raises(ConfigError, match=r"deep cannot be written \(.+\)\. Give another place with --out"):
            check_place(tmp_path / "file" / "deep", folder=folder)
    with pytest.raises(ConfigError, match=r"is a folder.*Give another place with --json\."):
        check_place(tmp_path, folder=False, option="--json")
    check_place(tmp_path / "file", folder=False)
    check_place(tmp_path, folder=True)
    with pytest.raises(ConfigError, match="is a file"):
        check_place(tmp_path / "file", folder=True)
    with pytest.raises(ConfigError, match="is a folder"):
        check_place(tmp_path, folder=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_name_says_what_the_file_is():
    for fits in ("a.json", "A.JSON", "a", "a.b.json"):
        check_suffix(Path(fits), (".json",), "boxes are", "Write JSON")
    with pytest.raises(
        ConfigError, match=r"^a\.b: boxes are no B file\. Expected: a name that ends in \.json, \.js\. Write JSON"
    ):
        check_suffix(Path("a.b"), (".json", ".js"), "boxes are", "Write JSON")


def test_a_table_calculates_nothing_and_moves_no_cursor(tmp_path):
    """Text that begins a formula gets an apostrophe; numbers stay numbers, also as text."""
    cells = ["=1+1", "+cmd", "-2", "-2,5", "@x", "\tx", "a=b", "1e5", "+7", "\x1b[2J", "Zürich\nHB", ""]
    table = pd.DataFrame({"=name": cells, "number": -np.arange(12.0), "none": [None] * 12})
    written = pd.read_csv(write_csv(tmp_path / "a.csv", table), keep_default_na=False, dtype=str)
    right = ["'=1+1", "'+cmd", "-2", "'-2,5", "'@x", "'\tx", "a=b", "1e5", "+7", r"\u001B[2J", "Zürich\nHB", ""]
    assert written["'=name"].tolist() == right
    assert written["number"].tolist()[1] == "-1.0" and set(written["none"]) == {""}
    assert table["=name"].tolist() == cells


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, "x"),
        OSError("IOError: No space left on device"),
        ValueError("(os error 28) No space left on device"),
    ],
)
def test_a_writer_that_says_in_words_that_the_disk_is_full(tmp_path, error):
    """Those of Parquet and of safetensors give no number."""
    with pytest.raises(RunError, match="disk is full"), replacing(tmp_path / "a"):
        raise error
    assert list(tmp_path.iterdir()) == []


def holder(folder, code="sys.stdin.read()"):
    """Another process that holds ``folder`` until its input ends."""
    words = f"""
import sys
from pathlib import Path
from sidelight.files import held
with held(Path({str(folder)!r})):
    print("held", flush=True)
    {code}
"""
    other = subprocess.Popen([sys.executable, "-c", words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    return other


def test_a_folder_is_held_by_one_process_which_the_second_names(tmp_path):
    other = holder(tmp_path / "run")
    said = json.loads((tmp_path / "run" / ".lock").read_text())
    assert said["pid"] == other.pid and said["host"] == socket.gethostname()
    with pytest.raises(RunError, match=rf"process {other.pid} on '.*' since '20\d\d.*Wait"), held(tmp_path / "run"):
        pass
    other.communicate("")
    assert not (tmp_path / "run").exists()  # nothing came of it
    with held(tmp_path / "run"):
        (tmp_path / "run" / "a").touch()
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["a"]


def test_the_lock_of_a_process_that_died_is_taken_over(tmp_path, monkeypatch):
    (tmp_path / "a").touch()
    other = holder(tmp_path)
    other.kill()
    other.communicate()
    assert (tmp_path / ".lock").exists()
    with held(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["pid"] == os.getpid()
    # where the file system has no locks, what stands in the file counts
    monkeypatch.setattr(files, "fcntl", None)
    for said, free in (
        ({"host": socket.gethostname(), "pid": other.pid, "since": "x"}, True),
        ({"host": socket.gethostname(), "pid": os.getppid(), "since": "x"}, False),
        ({"host": "other", "pid": 1, "since": "x"}, False),
        ("cut", True),
    ):
        (tmp_path / ".lock").write_text(json.dumps(said))
        if free:
            with held(tmp_path):
                pass
            continue
        with pytest.raises(RunError, match="Another process"), held(tmp_path):
            pass
