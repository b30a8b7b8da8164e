"""Every figure is its tables: the numbers against what the trials say, without a picture."""

import numpy as np
import pandas as pd
import pytest

from analysis.figures.gallery import SECTIONS, gallery
from analysis.figures.grammar import BOUNDS, LINES, MARKS, Axis, Panel, figure, parts
from analysis.figures.price import cost_table
from analysis.figures.progress import survival_table
from analysis.questions.accuracies import lacking
from analysis.questions.answers import answered
from tests.helpers.everything import METHODS, NOISE_SCALE, SIZES, everything
from tests.helpers.synthetic import study, trial

SERIES = ("momentum", *(f"{method}, m={m}" for method in METHODS[1:] for m in ("B", 64)))
EXPECTED = {
    "compensation", "recovered_share", "accuracy_vs_training_loss", "accuracy_vs_batch_size",
    "batch_size_and_m",
    "lr_vs_batch_size", "lr_laws", "rules_lose", "rho_vs_batch_size", "gap_vs_batch_size",
    "sharpness_vs_batch_size", "sharpness_vs_gap", "landscape_slices", "landscape_lines",
    "steps_to_target", "cost_vs_batch_size", *(f"lr_response-{method}" for method in METHODS),
    *(f"rho_response-{method}" for method in METHODS[1:]), "learning_curves", "rung_survival",
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return answered(everything(tmp_path_factory.mktemp("every"), trials=24))


@pytest.fixture(scope="module")
def made(found):
    return {figure.name: figure for _, figure in gallery(found)}


def winners(found, method, size, m=None):
    trials = found.study.trials
    own = trials["method"].eq(method) & trials["batch_size"].eq(size) & trials["m"].eq(m or size)
    return trials[own & trials["role"].eq("winner") & trials["status"].eq("complete")]


def mark(figure, **where):
    rows = figure.marks
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1, where
    return rows.iloc[0]


def test_every_question_has_its_figure_and_none_is_empty(found, made):
    assert set(made) == EXPECTED
    assert list(dict.fromkeys(section for section, _ in gallery(found))) == list(SECTIONS)
    for each in made.values():
        assert tuple(each.marks) == MARKS and tuple(each.lines) == LINES
        assert tuple(each.bounds) == BOUNDS and each.title and each.caption
        drawn = {*each.marks["panel"], *each.lines["panel"]}
        assert drawn == set(each.panels) and not each.empty
        groups = {*each.marks["group"], *each.lines["group"]}
        assert groups <= {*each.groups, ""}, each.name


def test_a_method_looks_the_same_everywhere(made):
    looks = {}
    for each in made.values():
        for group, number in each.groups.items():
            if group in SERIES:
                looks.setdefault(group, set()).add(number)
    assert {group: len(numbers) for group, numbers in looks.items()} == dict.fromkeys(SERIES, 1)


def test_waterfall_and_share_are_those_of_the_fresh_seeds(found, made):
    [compensation] = found.compensations
    least = compensation.reference.batch_size
    base = winners(found, "momentum", least)["test_accuracy"].mean()
    optima = [each for response in found.responses for each in response.optima]
    lacks = lacking(found.cells, optima, "log_error")
    best = base + lacks["momentum", least, least].value
    bound = made["compensation"].bounds
    assert bound["at"].to_numpy() == pytest.approx(100 * base)
    for size in (s for s in SIZES if s > least):
        plain = winners(found, "momentum", size)["test_accuracy"].mean()
        sam = winners(found, "momentum+sam", size)["test_accuracy"].mean()
        tuned = mark(made["compensation"], panel=f"momentum {size}", group="momentum")
        assert tuned["y"] == pytest.approx(100 * plain) and tuned["low"] < tuned["y"]
        own = mark(made["recovered_share"], x=size, group="momentum+asam, m=B")
        asam = winners(found, "momentum+asam", size)["test_accuracy"].mean()
        if own["sign"] == "dot":  # of the optima, of which the winners lack something
            plain += lacks["momentum", size, size].value
            asam += lacks["momentum+asam", size, size].value
            assert own["y"] == pytest.approx(100 * (asam - plain) / (best - plain))
        steps = made["compensation"].panels[f"momentum {size}"].x.words
        assert steps == (
            "copied", "× √B", "× B", "tuned", *(f"+{s}AM, m={m}" for s in ("S", "AS")
                                                for m in ("64", "B")),
        )  # fmt: skip
        at = mark(made["compensation"], panel=f"momentum {size}", group="momentum+sam, m=B")
        assert at["y"] == pytest.approx(100 * sam) and steps[int(at["x"])] == "+SAM, m=B"
        assert f"{100 * sam:.2f} %" in at["says"]


@pytest.mark.parametrize(
    ("name", "panel", "column", "scale"),
    [
        ("accuracy_vs_batch_size", "accuracy", "test_accuracy", 100),
        ("gap_vs_batch_size", "gap", "generalization_gap", 100),
        ("gap_vs_batch_size", "fit", "train_accuracy", 100),
        ("sharpness_vs_batch_size", "sam_sharpness", "sam_sharpness", 1),
    ],
)
def test_marks_are_mean_and_sd_over_seeds(found, made, name, panel, column, scale):
    for size in SIZES:
        values = winners(found, "momentum+asam", size)[column] * scale
        own = mark(made[name], panel=panel, group="momentum+asam, m=B", x=size)
        assert own["y"] == pytest.approx(values.mean())
        assert own["high"] == pytest.approx(values.mean() + values.std())
        assert f"{len(values)} seeds" in own["says"]


def test_learning_rates_are_the_tables_with_laws_and_guides(found, made):
    each = made["lr_vs_batch_size"]
    table = found.table[found.table["method"].eq("momentum")]
    own = each.marks[each.marks["group"] == "momentum"]
    assert own["y"].tolist() == table["lr_star"].tolist()
    inside = table["verdict"].eq("interior").to_numpy()
    assert inside.any()
    assert own["low"][inside].to_numpy() == pytest.approx(table["lr_low"][inside].to_numpy())
    lines = each.lines.assign(x=np.log2(each.lines["x"]), y=np.log2(each.lines["y"]))
    for scaling in (s for s in found.scalings["lr"] if s.points >= 2):
        fit = lines[lines["group"].eq(scaling.group.label)]
        slope = np.polyfit(fit["x"], fit["y"], 1)[0]
        assert slope == pytest.approx(scaling.power.psi)
    for rule, power in (("sqrt", 0.5), ("linear", 1.0)):
        guide = lines[lines["piece"].eq(rule) & lines["kind"].eq("guide")]
        assert np.diff(guide["y"])[0] == pytest.approx(power * np.diff(guide["x"])[0])
        assert guide["y"].iloc[0] == pytest.approx(np.log2(own["y"].iloc[0]))


def test_the_noise_scales_prediction_saturates_where_it_was_measured(made):
    each = made["lr_laws"]
    own = each.lines[each.lines["kind"].eq("prediction") & each.lines["panel"].eq("momentum")]
    shape = own["y"] * (1 + NOISE_SCALE / own["x"])
    assert len(own) > 1 and shape.to_numpy() == pytest.approx(shape.iloc[0])
    assert (each.marks["sign"] == "cross").any()  # the divergence edge
    assert {"fit", "edge", "prediction"} <= set(each.lines["kind"])


def test_every_trial_of_a_method_is_in_its_response(found, made):
    each, trials = made["lr_response-momentum+sam"], found.study.trials
    own = trials[trials["method"].eq("momentum+sam")]
    assert sorted(each.marks["trial"]) == sorted(own["trial_id"])
    told = each.marks.set_index("trial").loc[own["trial_id"]]
    assert told["x"].tolist() == own["lr"].tolist()
    crossed = told["sign"].eq("cross").to_numpy()
    assert (crossed == own["status"].eq("diverged").to_numpy()).all()
    assert told["y"][crossed].isna().all()
    shown = told["y"].notna().to_numpy()
    assert told["y"][shown].tolist() == own["score"][shown].tolist()
    stopped = own["status"].eq("stopped").to_numpy()
    assert (told["sign"][stopped] == "ring").all() and stopped.any()
    ranges = each.bounds[each.bounds["at"].isna()]
    assert set(ranges["high"]) >= {2.0**-8} and set(ranges["low"]) >= {2.0**4}


def test_the_ridge_is_highest_at_the_optimum(found, made):
    checked = 0
    for response in found.responses:
        each = made[f"lr_response-{response.method}"]
        for best in response.optima:
            own_m = f" m={best.m}" if best.m != best.batch_size else ""
            line = each.lines[each.lines["panel"].eq(f"{best.method} B={best.batch_size}{own_m}")]
            inside = best.verdict == "interior" and best.rho_verdict in ("interior", "insufficient")
            if not inside or len(line) < 5:
                continue
            if response.surface.d == 2 and best.rho_verdict != "interior":
                continue
            top = line["x"].iloc[int(line["y"].argmax())]
            step = np.log2(line["x"].iloc[1] / line["x"].iloc[0])
            assert abs(np.log2(top / best.lr_star)) <= step + best.se
            checked += 1
    assert checked >= 3


def test_steps_follow_their_law(found, made):
    each, target = made["steps_to_target"], found.steps.targets[0]
    [law] = [f.law for f in found.steps.fits if (f.label, f.target) == ("momentum", target)]
    own = each.lines[each.lines["group"].eq("momentum") & each.lines["kind"].eq("fit")]
    own = own[own["panel"] == own["panel"].iloc[0]]
    assert own["y"].to_numpy() == pytest.approx(law.s_min.value + law.e_min.value / own["x"])


def test_costs_are_medians_and_overhead_their_ratio(found, made):
    table = cost_table(found)
    for row in table.to_dict("records"):
        passes = 1 if row["method"] == "momentum" else 2
        assert row["step_seconds"] == pytest.approx(passes * (1e-3 + 1e-6 * row["batch_size"]))
        assert row["images_per_second"] == pytest.approx(row["batch_size"] / row["step_seconds"])
        assert row["overhead"] == pytest.approx(2.0) if passes == 2 else np.isnan(row["overhead"])
    own = mark(made["cost_vs_batch_size"], panel="step_seconds", group="momentum", x=4096)
    assert own["y"] == pytest.approx(1e3 * (1e-3 + 1e-6 * 4096))


def test_curves_and_survival_are_those_of_the_reports(found, made):
    reports = found.study.reports
    [trial_id, *_] = winners(found, "momentum", 256)["trial_id"]
    line = made["learning_curves"].lines.query("piece == @trial_id")
    own = reports[reports["trial_id"] == trial_id]
    assert line["y"].to_numpy() == pytest.approx(100 * own["val_accuracy"].to_numpy())
    assert line["x"].to_numpy() == pytest.approx(own["samples"].to_numpy() / 1000)
    table = survival_table(found).set_index(["label", "report"])
    trials = found.study.trials.query("method == 'momentum' and phase == 'search'")
    diverged = (trials["status"] == "diverged").sum()
    for report in (1, 2, 4, 9):
        stopped = (trials["asha_would_stop_at"][trials["status"] == "stopped"] <= report).sum()
        gone = stopped + (diverged if report >= 3 else 0)
        assert table.loc[("momentum", report), "alive"] == pytest.approx(1 - gone / len(trials))
    assert made["rung_survival"].bounds["at"].tolist() == [2.0, 4.0]


def test_landscapes_are_those_measured(found, made):
    lines = made["landscape_slices"].lines
    row = winners(found, "momentum+asam", 1024).iloc[0]
    own = lines[lines["piece"] == row["trial_id"]]
    assert own["y"].tolist() == pytest.approx(
        [0.1 + row["lambda_max"], 0.1, 0.1 + row["lambda_max"]]
    )
    each = made["landscape_lines"]
    assert "B=256: momentum+sam, m=B to momentum" in each.panels
    assert set(each.groups) == {"train loss", "test loss"}


def test_m_is_told_apart_from_the_batch(found, made):
    each = made["batch_size_and_m"]
    for size in SIZES[1:]:
        for m in (64, size):
            own = mark(each, panel="momentum+sam", group=f"B={size}", x=m)
            assert own["y"] == pytest.approx(
                100 * winners(found, "momentum+sam", size, m)["test_accuracy"].mean()
            )
    assert set(each.panels) == set(METHODS[1:])


def test_large_figures_come_in_parts_that_fit_a_page(made):
    panels = {str(i): Panel(str(i), Axis("x"), Axis("y")) for i in range(23)}
    marks = [{"panel": str(i), "x": 1.0, "y": float(i)} for i in range(23)]
    some = parts(figure("f", "F", "", panels, {}, marks=marks))
    assert [each.name for each in some] == ["f", "f-2", "f-3"]
    assert [each.title for each in some] == [f"F ({i} of 3)" for i in (1, 2, 3)]
    assert [len(each.panels) for each in some] == [10, 10, 3]
    assert pd.concat([each.marks for each in some])["y"].tolist() == [float(i) for i in range(23)]


def test_sharpness_against_gap_names_each_minimum(found, made):
    each = made["sharpness_vs_gap"]
    own = each.marks[each.marks["panel"] == "lambda_max"]
    trials = found.study.trials.set_index("trial_id").loc[own["trial"]]
    assert own["x"].tolist() == trials["lambda_max"].tolist()
    assert own["y"].to_numpy() == pytest.approx(100 * trials["generalization_gap"].to_numpy())
    assert len(own) == trials["lambda_max"].notna().sum() > 20


@pytest.mark.parametrize("rows", [[], [trial()], [trial(status="diverged", score=0.0)]])
def test_young_studies_have_no_empty_figures(rows):
    figures = [figure for _, figure in gallery(answered(study(rows, methods=["momentum"])))]
    assert all(not each.empty for each in figures)


def test_names_are_those_of_files():
    marks = [{"panel": "p", "x": 1.0, "y": 1.0}]
    made = figure("lr_response-A&B:momentum+x/y", "", "", {"p": None}, {}, marks=marks)
    assert made.name == "lr_response-A_B_momentum+x_y"
    assert isinstance(made.marks, pd.DataFrame) and made.marks["sign"].tolist() == ["dot"]
