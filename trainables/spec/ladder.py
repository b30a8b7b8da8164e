"""Asynchronous successive halving (Li et al. 2020) over the trials of one cell."""

from bisect import bisect_right, insort
from dataclasses import dataclass, field

REDUCTION = 2


@dataclass
class Ladder:
    """Rising scores by rung; a rung is a report index, a fraction of each trial's own schedule."""

    rungs: tuple[int, ...]
    scores: dict[int, list[float]] = field(default_factory=dict)

    @classmethod
    def build(cls, reports: int, warmup: float) -> "Ladder":
        """Rungs at 1/2, 1/4, … of the schedule, the first where warmup lies at least as far back
        as it lasted: before that, trials are ranked by their warmup."""
        rungs = {reports // REDUCTION**k for k in range(1, reports.bit_length())}
        return cls(tuple(sorted(r for r in rungs if r >= 1 and r / reports >= 2 * warmup)))

    def keep(self, rung: int, score: float) -> bool:
        """Record a score; True if it is among the best floor(n / REDUCTION) of its rung's n so far,
        as is the first of all."""
        seen = self.scores.setdefault(rung, [])
        insort(seen, score)
        better = len(seen) - bisect_right(seen, score)
        return better < max(1, len(seen) // REDUCTION)

    def forget(self, rung: int, score: float) -> None:
        """Take back a score; what was decided by it stands."""
        if score in self.scores.get(rung, ()):
            self.scores[rung].remove(score)
