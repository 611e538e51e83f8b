import dataclasses
import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.errors import DataError, RunError


def cohort(root, phantom=None):
    items = pd.DataFrame({"item": ["Jane Doe/1.png", "b.png"], "files": [(), ()]})
    return Cohort(root=root, name="x", items=items, phantom=phantom)


def item_hashes(cohort):
    return [cohort.item_hash(place) for place in range(len(cohort.items))]


def test_names_are_stable_distinct_and_tell_nothing(tmp_path):
    names = item_hashes(cohort(tmp_path))
    assert names == item_hashes(cohort(tmp_path))
    assert len({*names}) == 2
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


def test_another_folder_has_another_key(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert not {*item_hashes(cohort(tmp_path / "a"))} & {*item_hashes(cohort(tmp_path / "b"))}


def test_the_key_is_for_its_owner_only(tmp_path):
    item_hashes(cohort(tmp_path))
    folder = tmp_path / ".sidelight"
    assert [path.name for path in folder.iterdir()] == ["key"]
    assert (folder / "key").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("failing", ["mkdir", "open"])
def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch, failing):
    def refuse(*args, **kwargs):
        raise PermissionError("read-only")

    monkeypatch.setattr(*{"mkdir": (Path, "mkdir"), "open": (os, "open")}[failing], refuse)
    names = item_hashes(cohort(tmp_path))
    assert names == item_hashes(cohort(tmp_path))
    assert not (tmp_path / ".sidelight" / "key").exists()


def test_a_read_only_folder_stays_untouched_even_by_root(tmp_path):
    tmp_path.chmod(0o555)
    try:
        names = item_hashes(cohort(tmp_path))
        assert names == item_hashes(cohort(tmp_path))
        assert not list(tmp_path.iterdir())
    finally:
        tmp_path.chmod(0o755)


def test_a_file_system_without_links(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    names = item_hashes(cohort(tmp_path))
    assert (tmp_path / ".sidelight" / "key").exists()
    assert names == item_hashes(cohort(tmp_path))


def test_a_phantom_leaves_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert len(item_hashes(cohort(Path(), phantom=object()))) == 2
    assert not list(tmp_path.iterdir())


def test_names_of_public_data_are_the_same_in_every_copy(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, other = (dataclasses.replace(cohort(tmp_path / name), spec=CohortSpec(public=True)) for name in "ab")
    assert item_hashes(one) == item_hashes(other)
    assert not list(tmp_path.glob("*/.sidelight"))


def test_names_in_a_read_only_folder_do_not_change_with_the_times_of_its_files(tmp_path):
    (tmp_path / "b.png").write_bytes(b"x")
    tmp_path.chmod(0o555)
    try:
        here = dataclasses.replace(cohort(tmp_path), items=pd.DataFrame({"item": ["b.png"], "files": [("b.png",)]}))
        names = item_hashes(here)
        os.utime(tmp_path / "b.png", (1, 1))
        assert names == item_hashes(dataclasses.replace(here))
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_leaves_no_key_and_says_so(tmp_path, monkeypatch):
    """A key that came later would change every name, so that nothing is named until there is room."""

    def full(self, content):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(RunError, match="disk is full"):
            item_hashes(cohort(tmp_path))
    assert list((tmp_path / ".sidelight").iterdir()) == []
    item_hashes(cohort(tmp_path))
    assert (tmp_path / ".sidelight" / "key").stat().st_size == 32


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_key_that_is_not_whole_stops(tmp_path, length):
    (tmp_path / ".sidelight").mkdir()
    (tmp_path / ".sidelight" / "key").write_bytes(b"x" * length)
    with pytest.raises(DataError, match=rf"key has {length} bytes. Expected: 32"):
        item_hashes(cohort(tmp_path))


def test_a_file_system_without_links_still_gets_a_whole_key(tmp_path, monkeypatch):
    def no_links(*paths):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    names = item_hashes(cohort(tmp_path))
    assert names == item_hashes(cohort(tmp_path))
    assert [path.name for path in (tmp_path / ".sidelight").iterdir()] == ["key"]
    assert (tmp_path / ".sidelight" / "key").stat().st_size == 32
