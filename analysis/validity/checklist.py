"""The checklist as the report shows it."""

from analysis.questions.answers import Answers
from analysis.validity import confirm, search
from analysis.validity.check import Check
from analysis.validity.registered import registered

CHECKS = (
    confirm.whole, search.optima, search.winners, search.laws, search.stopping, confirm.seeds,
    search.diverged, search.neighbours, search.rules, confirm.share, confirm.settings,
    confirm.minima, confirm.workers, confirm.timing, registered,
)  # fmt: skip


def validity(found: Answers) -> list[Check]:
    """Whether winners fit, on which all else hangs; of the others what calls for caution first."""
    checks = [check for ask in CHECKS for check in ask(found)]
    checks.sort(key=lambda check: ("caution", "unknown", "holds").index(check.verdict))
    return [*confirm.fit(found), *checks]
