import pytest

from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError


@pytest.mark.parametrize("name", ["skin", "derm", "ultrasound", "knee", "chest"])
def test_what_no_phantom_can_be_asked_for(name):
    with pytest.raises(ConfigError, match=r"size = 8\. Expected: at least (16|32)"):
        Cohort.open(f"phantom:{name}?size=8")
    with pytest.raises(ConfigError, match=r"difficulty = 1\.5\. Expected: a number from 0 to 1"):
        Cohort.open(f"phantom:{name}?difficulty=1.5")
