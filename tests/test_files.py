import os
from pathlib import Path

import pytest

from sidelight.errors import ConfigError, RunError
from sidelight.files import check_place, explained, replacing, write_text

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
    check_place(tmp_path / "file", folder=False)
    check_place(tmp_path, folder=True)
    with pytest.raises(ConfigError, match="is a file"):
        check_place(tmp_path / "file", folder=True)
    with pytest.raises(ConfigError, match="is a folder"):
        check_place(tmp_path, folder=False)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
