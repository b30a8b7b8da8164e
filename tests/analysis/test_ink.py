"""Figures as drawn: of a column's width, fonts embedded, told apart, and marks where they say."""

import re

import pytest
from matplotlib.image import imread

from analysis.figures.grammar import Axis, Panel, figure
from analysis.figures.ink import draw
from analysis.figures.style import COLOURS, THEME, WIDTH, look

PANELS = {
    "a": Panel("A", Axis("B", 2, (64.0, 128.0, 256.0)), Axis("LR", 10)),
    "b": Panel("B", Axis("", ticks=(0.0, 1.0), words=("copied", "tuned")), Axis("%")),
}
MARKS = [
    {"panel": "a", "group": "plain", "x": 64, "y": 0.1, "low": 0.05, "high": 0.2, "trial": "t1"},
    {"panel": "a", "group": "plain", "x": 256, "y": 0.4, "side": 1, "says": "beyond"},
    {"panel": "a", "group": "sam", "x": 128, "y": 0.2, "low": 0.1, "high": float("inf")},
    {"panel": "b", "group": "sam", "x": 0, "y": float("nan"), "sign": "cross", "says": "lost"},
    {"panel": "b", "group": "sam", "x": 1, "y": 95.0, "sign": "ring", "says": "95 %"},
]
LINES = [
    {"panel": "a", "group": "plain", "kind": "fit", "x": x, "y": y}
    for x, y in ((64, 0.1), (256, 0.4))
]
BOUNDS = [{"panel": "b", "at": 90.0, "says": "B=64"},
          {"panel": "a", "group": "sam", "axis": "x", "low": 1.0, "high": 70.0}]  # fmt: skip


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    made = figure("f", "F", "of all", PANELS, {"plain": 0, "sam": 1}, marks=MARKS, lines=LINES,
                  bounds=BOUNDS, signs={"ring": "hollow", "cross": "gone"})  # fmt: skip
    stem = tmp_path_factory.mktemp("ink") / "f"
    return draw(made, stem), stem


def test_a_column_wide_with_fonts_embedded(drawn):
    pdf = drawn[1].with_suffix(".pdf").read_bytes()
    box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) ", pdf)
    assert box and float(box[1]) == pytest.approx(72 * WIDTH)
    fonts = set(re.findall(rb"/FontName /([\w+-]+)", pdf))
    assert fonts and len(re.findall(rb"/FontFile2 ", pdf)) == len(fonts)
    assert drawn[1].with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    lines = len(MARKS) + len(LINES) + len(BOUNDS)
    assert drawn[1].with_suffix(".csv").read_text().count("\n") == 1 + lines


def test_spots_lie_on_their_marks(drawn):
    found, _ = drawn
    spots = {trial or says: (x, y) for x, y, trial, says in found.spots if trial or says}
    assert set(spots) == {"t1", "beyond", "lost", "95 %"}
    uses = [
        tuple(map(float, at))
        for at in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', found.svg)
    ]
    for at in spots.values():
        assert min(abs(at[0] - x) + abs(at[1] - y) for x, y in uses) < 0.2
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', found.svg).groups())
    assert width == pytest.approx(72 * WIDTH)
    assert all(0 < x < width and 0 < y < height for x, y in spots.values())
    assert spots["t1"][0] < spots["beyond"][0] and spots["t1"][1] > spots["beyond"][1]
    assert spots["lost"][1] > spots["95 %"][1]  # at the foot


def test_a_bound_and_what_lies_beyond_the_axis_are_seen(tmp_path):
    panels = {"p": Panel("", Axis("x"), Axis("y", limits=(0.0, 10.0))),
              "q": Panel("", Axis("x"), Axis("y"))}  # fmt: skip
    marks = [{"panel": "p", "x": 1.0, "y": 50.0, "says": "far"},
             {"panel": "p", "x": 1.0, "y": 5.0, "says": "mid"},
             {"panel": "q", "x": 1.0, "y": 5.0}, {"panel": "q", "x": 2.0, "y": 6.0}]  # fmt: skip
    bounds = [{"panel": "q", "at": 9.0, "says": "nine"}]
    found = draw(figure("h", "H", "", panels, {}, marks=marks, bounds=bounds), tmp_path / "h")
    places = {says: y for _, y, _, says in found.spots if says}
    assert 0 < places["far"] < places["mid"]
    height = float(re.search(r'viewBox="0 0 [\d.]+ ([\d.]+)"', found.svg)[1])
    [at] = re.findall(r'<text [^>]*y="([\d.]+)"[^>]*>nine</text>', found.svg)
    assert 0 < float(at) < height and "50.0" in (tmp_path / "h.csv").read_text()


def test_an_interval_without_an_end_does_not_stretch_the_axis(drawn):
    """Were it drawn into the limits, the two known values would fall together."""
    spots = {trial or says: y for _, y, trial, says in drawn[0].spots}
    assert spots["t1"] - spots["beyond"] > 15


def test_the_page_owns_colours_and_ids(drawn):
    svg = drawn[0].svg
    assert not [colour for colour in THEME if colour in svg.lower()] and "var(--c0)" in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert ids and all(each.startswith("f-") for each in ids)
    assert set(re.findall(r'href="#([^"]*)"', svg)) <= set(ids)
    assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(ids)
    assert "<?xml" not in svg and not re.search(r"<svg[^>]* (width|height)=", svg)


def test_groups_differ_in_colour_shape_and_dash():
    looks = {tuple(map(str, look(i).values())) for i in range(84)}
    assert len(looks) == 84
    pairs = [(look(i)["marker"], str(look(i)["linestyle"])) for i in range(28)]
    assert len(set(pairs)) == 28  # in greyscale, too


def test_neighbouring_colours_differ_in_greyscale_or_shape():
    def grey(colour: str) -> float:
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    for i in range(len(COLOURS) - 1):
        other = abs(grey(COLOURS[i]) - grey(COLOURS[i + 1])) > 15
        assert other or look(i)["marker"] != look(i + 1)["marker"]


@pytest.mark.parametrize(("base", "values"), [(10, (1e-6, 3e-4, 9.0)), (0, (-110.0, 0.0, 110.0))])
@pytest.mark.parametrize("panels", [["a"], ["a", "b"]], ids=["one", "two"])
def test_nothing_is_cut_off_where_numbers_are_wide(tmp_path, panels, base, values):
    axes = {p: Panel("A", Axis("batch size B"), Axis("(learning rate) LR*", base)) for p in panels}
    marks = [{"panel": p, "group": "g", "x": 64, "y": y} for p in panels for y in values]
    draw(figure("s", "S", "", axes, {"g": 0}, marks=marks), tmp_path / "s")
    pixels = imread(tmp_path / "s.png")[..., :3]
    for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]):
        assert (edge == 1).all()


def test_many_long_names_and_dollars_are_drawn(tmp_path):
    groups = {f"adamw+my_parts:GSAM_$x^{i}$, m=64": i for i in range(9)}
    marks = [{"panel": "a", "group": g, "x": 64, "y": 0.1 + i} for g, i in groups.items()]
    found = draw(figure("g", "G", "", PANELS, groups, marks=marks), tmp_path / "g")
    assert all(group in found.svg for group in groups)
