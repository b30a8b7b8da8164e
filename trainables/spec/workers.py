"""How many workers share each batch of a trial: as asked, or as many as are worth it."""

from dataclasses import dataclass

from trainables.spec.errors import UsageError
from trainables.spec.plugins import is_plugin
from trainables.spec.trial import TrialConfig

OPTION = "--workers-per-trial"


@dataclass(frozen=True)
class Workers:
    """`asked` of each trial, or 0 for a number that its batch size gives; `ghosts` says whether the
    network normalises over batches."""

    asked: int = 1
    ghosts: bool = False

    @classmethod
    def parse(cls, text: str) -> "Workers":
        """`auto` or a number."""
        if text != "auto" and not (text.isdecimal() and 1 <= int(text) < 1e6):
            raise UsageError(f"{OPTION}: {text!r} cannot be; accepted: auto, or a number from 1")
        return cls(0 if text == "auto" else int(text))

    def __str__(self) -> str:
        return str(self.asked or "auto")

    def of(self, trial: TrialConfig, most: int) -> int:
        """How many train a trial where at `most` so many can: with `auto` the power of two that
        gives each at least a micro-batch, or the next lower one that changes nothing but time."""
        if self.asked:
            return self.asked
        count = 1
        while 2 * count <= min(most, trial.batch_size // trial.micro_batch):
            count *= 2
        while self.wrong(trial, count):
            count //= 2
        return count

    def require(self, trial: TrialConfig) -> None:
        """Raises UsageError where so many would train something else, or cannot share a batch."""
        if wrong := self.asked and self.wrong(trial, self.asked):
            raise UsageError(f"{OPTION}: {self.asked} workers {wrong}")

    def wrong(self, trial: TrialConfig, count: int) -> str:
        """Why `count` workers cannot train it as one does, and what is accepted; or nothing."""
        size, m = trial.batch_size, trial.m
        share = size // count
        if size % count:
            return f"cannot share a batch of {size} equally; accepted: a divisor of it, or auto"
        if m < size and not is_plugin(trial.formulation) and share % m:
            return (
                f"would cut shards of m = {m} images, as each has {share} of a batch of {size}, "
                "and a shard climbs on one worker; accepted: m of the whole batch, or a divisor of "
                "a worker's share"
            )
        # Shards of a user's own formulation are cut between workers.
        shards = {size} if m == size else {m} if is_plugin(trial.formulation) else set()
        if self.ghosts and any(not _alike(shard, count, trial.bn_batch) for shard in shards):
            return (
                f"would normalise over other images than one, by --bn-batch {trial.bn_batch} at "
                f"batch size {size}; accepted: where a worker's share is a multiple of it, or auto"
            )
        return ""


ONE = Workers()


def _alike(images: int, count: int, most: int) -> bool:
    """Whether what is cut into parts of at most `most` has the same parts if it is first cut into
    `count` shares."""
    parts = -(-images // most)
    return count == 1 or (parts % count == 0 and images % parts == 0)
