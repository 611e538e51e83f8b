import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from sidelight.reporting.figures import (
    COLOURS,
    GREYS,
    Curve,
    Line,
    Panel,
    draw_efficiency,
    efficiency_png,
    efficiency_svg,
    histogram_svg,
    lines_svg,
    looks,
    swatch,
)

LOOKS = looks(["random", "SimCLR", "Meta-USCL"], "Meta-USCL", lambda name: name == "random")
NAN = [math.nan] * 3


def panel(**changes: object) -> Panel:
    curves = [
        Curve("random", LOOKS["random"], [8, 16, 90], [0.5, 0.55, 0.6], NAN, NAN),
        Curve("Meta-USCL", LOOKS["Meta-USCL"], [8, 16, 90], [0.7, 0.8, 0.9], [0.6, 0.7, 0.8], [0.8, 0.9, 0.95]),
    ]
    values = {
        "title": "T",
        "subtitle": "S <&> $x",
        "x_name": "clips",
        "y_name": "AUROC",
        "curves": curves,
        "all_labels": 90.0,
    }
    return Panel(**{**values, "chance": 0.5, "saved": (0.7, 8.0, math.inf), **changes})  # type: ignore[arg-type]


def test_methods_are_coloured_and_baselines_grey():
    assert LOOKS["Meta-USCL"].colour == COLOURS[0]
    assert LOOKS["SimCLR"].colour == COLOURS[1]
    assert LOOKS["random"].colour == GREYS[0]
    assert LOOKS["random"].dash != "-"
    assert list(LOOKS) == ["random", "SimCLR", "Meta-USCL"]
    many = looks([f"m{i}" for i in range(9)], "m8", lambda name: False)
    assert len({(look.colour, look.dash if isinstance(look.dash, str) else "dashed") for look in many.values()}) == 9


def test_the_drawing_holds_the_numbers():
    axes = Figure().subplots()
    draw_efficiency(axes, panel())
    lines = {line.get_label(): line for line in axes.get_lines() if line.get_gid() == "curve"}
    np.testing.assert_allclose(lines["Meta-USCL"].get_ydata(), [0.7, 0.8, 0.9])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["8", "16", "90\n(all)"]
    low, high = axes.get_ylim()
    assert low < 0.5
    assert 0.95 < high <= 1.005
    assert any(text.get_text() == "chance" for text in axes.texts)


def test_svg_is_well_formed_and_follows_the_page_colours():
    text = efficiency_svg(panel())
    root = ElementTree.fromstring(text.replace("xlink:href", "href"))
    assert root.attrib["aria-label"] == "T: S <&> $x"
    assert "var(--c0)" in text
    assert COLOURS[0] not in text
    assert "http://www.w3.org/1999/xlink" in text
    assert "<metadata" not in text
    assert text == efficiency_svg(panel()), "the same numbers give the same bytes"


def test_odd_panels_still_draw(tmp_path: Path):
    one = Curve("SimCLR", LOOKS["SimCLR"], [16], [0.7], [math.nan], [math.nan])
    assert "<svg" in efficiency_svg(panel(curves=[one], saved=None, all_labels=None, chance=None))
    close = Curve("SimCLR", LOOKS["SimCLR"], [64, 92, 94], [0.7, 0.8, 0.8], NAN, NAN)
    axes = Figure().subplots()
    draw_efficiency(axes, panel(curves=[close], all_labels=94.0))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["64", "94\n(all)"], (
        "ticks that touch give way to all"
    )
    path = efficiency_png([panel(), panel(), panel()], tmp_path / "figures" / "a.png")
    with Image.open(path) as image:
        assert image.width > 1200


def test_small_figures():
    curve = lines_svg([Line("training", [0, 1], [2.0, 1.0]), Line("validation", [0, 1], [2.5, 1.5])], label="loss")
    assert "validation" in curve
    for weights in (np.array([0.1, 0.2, 0.9, 0.8]), np.ones(5)):
        assert "% of pairs" in histogram_svg(weights, label="w")
    assert "var(--c0)" in swatch(LOOKS["Meta-USCL"])
    assert "stroke-dasharray" in swatch(LOOKS["random"])
