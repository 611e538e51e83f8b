"""A damaged member of an archive of reports is counted and named, and stops nothing."""

import zipfile

from PIL import Image

from sidelight.data.audit.audit import audit
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Record


def test_a_member_with_a_bad_checksum_is_counted(tmp_path):
    for number in range(12):
        Image.new("L", (8, 8), number).save(tmp_path / f"s{number}.png")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for number in range(12):
            archive.writestr(f"s{number}.txt", f"FINDINGS: There is one nodule of {number} mm in the right lung.")
    (tmp_path / "cohort.toml").write_text(
        'files = "{study}.png"\nlevels = ["study"]\n[report]\nfiles = "all.zip::{study}.txt"\n'
    )

    def found():
        cohort = Cohort.open(tmp_path, record=Record())
        return [one for one in audit(cohort) if "report" in one.sentence]

    assert found() == []
    content = (tmp_path / "all.zip").read_bytes()
    (tmp_path / "all.zip").write_bytes(content.replace(b"nodule of 7 mm", b"nodule of 9 mm"))
    (one,) = found()
    assert (one.kind, one.severity, one.items) == ("file", "warning", ("s7.png",))
    assert one.sentence == "1 of 12 reports cannot be read: damaged, or locked"
    (tmp_path / "all.zip").write_bytes(content[:200])
    (one,) = found()
    assert one.severity == "error" and "all.zip is not a readable zip file" in one.sentence
