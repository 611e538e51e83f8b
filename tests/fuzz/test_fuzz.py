"""A few hundred broken files for each reader; ``benchmarks/fuzz.py`` tries ten thousand."""

import resource

import pytest

from fuzzing import READERS, SEEDS, fuzz, mutant, reads

MUTANTS = {
    **dict.fromkeys(READERS, 300),
    "excel": 60,
    "tower": 100,
    "model": 100,
    "toml": 150,
    "reports": 200,
    "video": 150,
}
HEADROOM = 2 << 30
"""Bytes of addresses that a reader may take beside those of the process."""


@pytest.fixture
def narrow():
    """The process can take little more memory than it has."""
    had = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, had[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, had)


def test_every_reader_has_seeds_and_mutants_are_the_same_each_time():
    assert {path.name for path in SEEDS.iterdir()} == set(READERS)
    assert sum(path.stat().st_size for path in SEEDS.rglob("*")) < 500_000
    raw = next((SEEDS / "csv").iterdir()).read_bytes()
    assert mutant(raw, 7) == mutant(raw, 7) != mutant(raw, 8)


@pytest.mark.parametrize("reader", READERS)
def test_every_seed_is_read_as_it_is(reader, tmp_path):
    for seed in (SEEDS / reader).iterdir():
        reads(reader, seed, tmp_path)


@pytest.mark.parametrize("reader", READERS)
def test_a_broken_file_is_read_or_refused(reader, tmp_path, narrow):
    found = fuzz(reader, MUTANTS[reader], tmp_path)
    assert not found.defects, "\n".join(found.defects[:5])
    assert found.counts["refused"] > MUTANTS[reader] / 20 or reader == "cache"
