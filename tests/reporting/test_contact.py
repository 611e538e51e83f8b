"""The contact sheet: what it shows, of whom, and to whom."""

import re

import numpy as np
import pytest
from PIL import Image

from sidelight.data.cohort.cohort import Cohort
from sidelight.reporting.contact import beside, render_contact

TOML = """
files  = "photos/{patient}/{view:[A-Z]}{n:[0-9]+}.*"
levels = ["patient"]
views  = {D = "dermoscopic", K = "clinical"}
tables = [{file = "patients.csv", on = ["patient=pid"]}, {file = "photos.csv", on = ["stem=photo", "patient=pid"]}]
[metadata]
patient = ["sex"]
unknown = ["unbekannt"]
[task.diagnosis]
label = "dx"
unit = "patient"
"""


@pytest.fixture
def cohort(tmp_path):
    rng = np.random.default_rng(0)
    for patient in range(6):
        for name in ("D1", "K2"):
            path = tmp_path / "photos" / str(patient) / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).save(path)
    people = [f"{patient};{'mw'[patient % 2]};{['nevus', '<b>mel'][patient % 2]}" for patient in range(5)]
    (tmp_path / "patients.csv").write_text("\n".join(["pid;sex;dx", *people, "9;m;nevus"]))
    (tmp_path / "photos.csv").write_text("photo,pid,light\nD1,3,bright\nK2,3,dim\nD1,4,bright\n")
    (tmp_path / "cohort.toml").write_text(TOML)
    return Cohort.open(tmp_path)


def test_every_item_stands_beside_its_own_rows(cohort, tmp_path):
    out = render_contact(cohort, tmp_path / ".sidelight" / "contact.html", count=12)
    text = out.read_text(encoding="utf-8")
    articles = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert len(articles) == 12
    for article in articles:
        patient = re.search(r"photos/(\d)/", article)[1]
        assert f"patient <strong>{patient}</strong>" in article
        if patient == "5":
            assert "No row in patients.csv" in article
        else:
            assert f"patients.csv, line {int(patient) + 2}<" in article
            assert f'<dd class="key">{patient}</dd>' in article
            assert f'<dd class="label">{["nevus", "&lt;b&gt;mel"][int(patient) % 2]}</dd>' in article
        assert "data:image/jpeg;base64," in article
    assert "view <strong>dermoscopic</strong>" in text
    assert text.count("bright") == 2


def test_lines_count_from_the_top_and_only_plain_rows_stand_as_they_are(cohort, tmp_path):
    (tmp_path / "patients.csv").write_text("Our patients\n" + (tmp_path / "patients.csv").read_text())
    (tmp_path / "cohort.toml").write_text(TOML.replace('"patients.csv"', '"patients.csv", header = 2'))
    text = render_contact(Cohort.open(tmp_path), tmp_path / "contact.html").read_text(encoding="utf-8")
    assert "patients.csv, line 3<" in text and "patients.csv, line 2<" not in text
    assert "as they are on the disk." in text and "keyed hashes" not in text


def test_masks_and_boxes_are_drawn_under_their_names(tmp_path):
    rng, rows = np.random.default_rng(0), ["image,x,y,w,h"]
    for number in range(3):
        for folder, values in (("images", rng.integers(0, 255, (40, 60))), ("masks", np.eye(40, 60) * 255)):
            (tmp_path / folder).mkdir(exist_ok=True)
            if folder == "images" or number:
                Image.fromarray(values.astype(np.uint8)).save(tmp_path / folder / f"{number}.png")
        rows += [f"{number},5,5,20,10"] * (number + 1)
    Image.fromarray(np.eye(9).astype(np.uint8)).save(tmp_path / "masks" / "2.png")
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    (tmp_path / "cohort.toml").write_text(
        'files = "images/{image}.png"\n[task.edge]\nmask = "masks/{image}.png"\n[task.spot]\n'
        'boxes = ["x", "y", "w", "h"]\nbox_format = "xywh"\ntable = {file = "boxes.csv", on = ["image"]}\n'
    )
    text = render_contact(Cohort.open(tmp_path), tmp_path / "contact.html").read_text(encoding="utf-8")
    articles = re.findall(r"<article.*?</article>", text, re.DOTALL)
    assert [one.count("<img") for one in articles] == [2, 3, 2]
    assert "task edge" in text and [">edge</span>" in one for one in articles] == [False, True, False]
    assert "edge: masks/2.png: is 9 x 9 pixels" in articles[2]


def test_joined_and_unjoined_rows_are_counted(cohort):
    patients, photos = beside(cohort)
    assert patients.row.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, -1, -1]
    assert photos.row.tolist() == [-1, -1, -1, -1, -1, -1, 0, 1, 2, -1, -1, -1]


def test_it_is_private_and_whole_in_itself(cohort, tmp_path):
    out = render_contact(cohort, tmp_path / ".sidelight" / "contact.html")
    text = out.read_text(encoding="utf-8")
    assert out.stat().st_mode & 0o777 == 0o600
    assert out.parent.stat().st_mode & 0o777 == 0o700
    assert "Contains patient data; do not send" in text
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)|https?://|<script""", text)
    assert [path.name for path in out.parent.iterdir()] == ["contact.html"]
    assert str(tmp_path) not in text


def test_the_same_seed_draws_the_same_items(cohort, tmp_path):
    paths = [render_contact(cohort, tmp_path / f"{n}.html", count=4, seed=seed) for n, seed in enumerate((1, 1, 2))]
    one, same, other = (re.findall(r'<p class="path"><code>(.*?)</code>', path.read_text()) for path in paths)
    assert one == same != other


def test_a_picture_that_cannot_be_read_is_flagged(cohort, tmp_path):
    (tmp_path / "photos" / "0" / "D1.png").write_bytes(b"x")
    text = render_contact(cohort, tmp_path / "contact.html").read_text(encoding="utf-8")
    assert text.count("Not readable") == 1
