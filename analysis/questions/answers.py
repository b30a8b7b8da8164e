"""All that is asked of a study, answered in order: the one place that knows every question."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.data.cells import Cell, cells, without_tables
from analysis.data.study import Study
from analysis.fit.envelope import envelope_responses
from analysis.fit.optimum import Response, responses, seed_noise
from analysis.fit.scaling import (
    Difference,
    Group,
    Quantity,
    Scaling,
    differences,
    groups,
    groups_along_m,
    scaling,
)
from analysis.questions.accuracies import Lack, lacking
from analysis.questions.budgets import Budgets, budgets
from analysis.questions.compare import pairwise
from analysis.questions.compensation import Compensation, compensations
from analysis.questions.crosscheck import disputed, estimates, exponents
from analysis.questions.flatness import association
from analysis.questions.gaps import gap_table, gap_trends
from analysis.questions.halving import Halving, halving
from analysis.questions.minima import Minima, minima, sharpness_table
from analysis.questions.neighbours import neighbours
from analysis.questions.prediction import Predictions, predictions
from analysis.questions.recommendation import Recommender, recommender
from analysis.questions.steps import Steps, steps_to_target, winner_curves
from analysis.questions.tables import cell_table
from analysis.questions.transfer import transfer

QUANTITIES: tuple[Quantity, ...] = ("lr", "lr_at_rho", "lr_max", "rho")
HIDDEN = 0.25  # of the scores' variance, that is noise: more than seeds make
Watch = Callable[[str, float], None]  # what is being computed, and the share that is done


@dataclass(frozen=True, eq=False)
class Answers:
    """Everything the report shows, as tables and frozen results."""

    study: Study
    cells: list[Cell]
    noise: dict[int, tuple[float, float]]
    responses: list[Response]
    groups: list[Group]
    compensations: list[Compensation]
    scalings: dict[Quantity, list[Scaling]]
    along_m: list[Scaling]
    differences: list[Difference]
    table: pd.DataFrame
    estimates: pd.DataFrame
    crosschecks: pd.DataFrame
    predictions: Predictions
    halving: Halving
    steps: Steps
    budgets: Budgets
    pairs: pd.DataFrame
    gaps: pd.DataFrame
    gap_trends: pd.DataFrame
    neighbours: pd.DataFrame
    minima: Minima
    sharpness: pd.DataFrame
    associations: pd.DataFrame
    recommender: Recommender

    @property
    def enveloped(self) -> list[str]:
        """Methods whose LR* is that of the upper envelope: of tables that hide a difference."""
        ours = {cell.method for cell in without_tables(self.study, self.cells)}
        return [each.method for each in self.responses
                if each.surface is None and each.method not in ours
                and any(o.verdict != "insufficient" for o in each.optima)]  # fmt: skip

    @property
    def optima(self) -> list[Any]:
        return [each for response in self.responses for each in response.optima]


def answered(study: Study, watch: Watch = lambda what, share: None) -> Answers:
    """Ask everything of a study; what it cannot answer yet is said to be missing, not raised."""
    own = cells(study)
    watch("learning rates", 0.0)
    found, other = learning_rates(study, own)
    optima = [each for response in found for each in response.optima]
    split, lacks = groups(found), _lacks(study, own, found)
    scalings: dict[Quantity, list[Scaling]] = {}
    for i, quantity in enumerate(QUANTITIES):
        watch("laws of the batch size", 0.1 + 0.05 * i)
        scalings[quantity] = [scaling(g, quantity) for g in split if _asked(g, quantity)]
    answers: dict[str, Any] = {}
    steps: Iterable[tuple[str, str, Callable[[], Any]]] = (
        ("along_m", "m", lambda: [scaling(g, "rho") for g in groups_along_m(found)]),
        ("predictions", "noise scales", lambda: predictions(study, own, found)),
        ("halving", "what stopping early did", lambda: halving(study, own)),
        ("steps", "steps to a target", lambda: steps_to_target(study, own)),
        ("budgets", "equal budgets", lambda: budgets(study, own)),
        ("pairs", "pairs of methods", lambda: pairwise(own)),
        ("associations", "sharpness against gap", lambda: association(own)),
    )
    for i, (name, what, ask) in enumerate(steps):
        watch(what, 0.3 + 0.65 * i / 7)
        answers[name] = ask()
    gaps, told = gap_table(own), compensations(own, winner_curves(study, own), lacks)
    watch("recommendations", 0.95)
    return Answers(
        study=study, cells=own, noise=seed_noise(own), responses=found, groups=split,
        compensations=told, scalings=scalings,
        differences=differences(split), table=cell_table(own, optima), estimates=other,
        crosschecks=exponents(other, scalings["lr"]), gaps=gaps, gap_trends=gap_trends(own),
        neighbours=neighbours(own), minima=minima(own), sharpness=sharpness_table(own),
        recommender=_recommender(study, own, found, told, lacks, answers["predictions"],
                                 answers["budgets"]), **answers,
    )  # fmt: skip


def recommends(study: Study, watch: Watch = lambda what, share: None) -> Recommender:
    """What recommends, as in `answered`, without all else."""
    own = cells(study)
    watch("learning rates", 0.0)
    found, _ = learning_rates(study, own)
    lacks = _lacks(study, own, found)
    watch("recommendations", 0.7)
    return _recommender(study, own, found, compensations(own, None, lacks), lacks,
                        predictions(study, own, found), budgets(study, own))  # fmt: skip


def _recommender(
    study: Study, own: list[Cell], found: list[Response], told: list[Compensation], lacks: Lack,
    foretold: Predictions, prices: Budgets,
) -> Recommender:  # fmt: skip
    references = {each.optimizer: each.reference for each in told if each.reference}
    carried = transfer(own, found, foretold, references, lacks, _score(study))
    return recommender(study, own, found, prices, lacks, carried)


def _score(study: Study) -> str:
    return str(study.config.get("score", "log_error"))


def _lacks(study: Study, own: list[Cell], found: list[Response]) -> Lack:
    optima = [each for response in found for each in response.optima]
    return lacking(own, optima, _score(study))


def learning_rates(study: Study, own: list[Cell]) -> tuple[list[Response], pd.DataFrame]:
    """LR* of every cell, and what other estimators say of it; where they differ none is stated."""
    found = _responses(study, own)
    other = estimates(own, found)
    return disputed(found, other), other


def _responses(study: Study, own: list[Cell]) -> list[Response]:
    """By the surface; where a foreign table hides what else its trials differ in, the envelope.

    Then trials at one place score so differently that the surface takes most of it for noise.
    """
    found, ours = responses(own), {cell.method for cell in without_tables(study, own)}
    hidden = [each.method for each in found if each.method not in ours
              and each.surface and each.surface.noise_share > HIDDEN]  # fmt: skip
    envelopes = envelope_responses([cell for cell in own if cell.method in hidden])
    return [next((e for e in envelopes if e.method == each.method), each) for each in found]


def _asked(group: Group, quantity: Quantity) -> bool:
    """Plain methods have no radius to fix or to fit; where LR is held there is only that to say."""
    if group.held() and quantity in ("lr_at_rho", "lr_max"):
        return False
    return quantity in ("lr", "lr_max") or "+" in group.method
