import numpy as np

from sidelight.reporting.check_page import render_check

VALUES = {
    "name": "ward",
    "findings": [],
    "costs": [],
    "counts": {
        "items": 2,
        "groups": 2,
        **{name: [] for name in ("levels", "views", "tables", "tasks")},
        "files": {"readable": 2, "bytes": 9},
    },
}


def test_pairs_of_copies_stand_side_by_side_on_a_page_for_its_owner(tmp_path):
    plain = render_check(VALUES, tmp_path / "plain.html")
    assert "data:image" not in plain.read_text()
    grey, colour = np.full((1, 20, 20), 90, np.uint8), np.full((3, 20, 20), 90, np.uint8)
    page = render_check(
        VALUES, tmp_path / "copies.html", [("hash-a", "hash-b", grey, grey), ("hash-c", "hash-d", colour, colour)]
    )
    text = page.read_text()
    assert text.count("data:image") == 4 and text.index("hash-a") < text.index("hash-b") < text.index("hash-c")
    assert page.stat().st_mode & 0o077 == 0
