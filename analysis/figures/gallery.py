"""All figures of the report, in the order in which a reader meets them."""

from collections.abc import Iterator

from analysis.data.cells import series_of
from analysis.figures.compensation import recovered, waterfall
from analysis.figures.fit import accuracy_vs_training_loss
from analysis.figures.grammar import Figure, parts
from analysis.figures.learning_rate import lr_laws, lr_vs_batch_size, rho_vs_batch_size
from analysis.figures.minima import landscapes, sharpness_vs_batch_size, sharpness_vs_gap
from analysis.figures.price import cost_vs_batch_size, steps_to_target
from analysis.figures.progress import learning_curves, rung_survival
from analysis.figures.quality import accuracy_vs_batch_size, batch_size_and_m, gap_vs_batch_size
from analysis.figures.response import responses
from analysis.figures.rules import rules_lose
from analysis.questions.answers import Answers

SECTIONS = {
    "Does it compensate?": (waterfall, recovered, accuracy_vs_training_loss,
                            accuracy_vs_batch_size, batch_size_and_m),
    "The learning rate and the radius": (lr_vs_batch_size, lr_laws, rules_lose,
                                         rho_vs_batch_size),
    "The minima": (gap_vs_batch_size, sharpness_vs_batch_size, sharpness_vs_gap, landscapes),
    "The price": (steps_to_target, cost_vs_batch_size),
    "Every trial": (responses, learning_curves, rung_survival),
}  # fmt: skip


def gallery(found: Answers) -> Iterator[tuple[str, Figure]]:
    """(section, figure) of all that are not empty; a method has one look in all of them."""
    order = {label: number for number, label in enumerate(series_of(found.cells))}
    for section, makers in SECTIONS.items():
        for make in makers:
            made = make(found, order)
            for each in [made] if isinstance(made, Figure) else made:
                if not each.empty:
                    yield from ((section, part) for part in parts(each))
