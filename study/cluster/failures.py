"""What to say of trials that failed: at the end, or where so many did that the study stops."""

from study.plan.planner import Planner
from trainables.spec.errors import Halted


def given_up(planner: Planner) -> Halted:
    """What to say where trial after trial fails; they stay open, to be tried once more."""
    name, count = planner.errors[0], len(planner.errors)
    text = planner.records[name].error or ""
    planner.forgive()
    return Halted(
        f"stopped, since {count} trials in a row failed; everything finished is kept, and the same "
        f"command tries these again. The first, {name}:\n{text.strip()}"
    )


def failures(planner: Planner) -> list[str]:
    """Lines on the trials that failed, and on those that took a smaller micro-batch."""
    records, lines = list(planner.records.values()), []
    failed = [record.error or "" for record in records if record.status == "error"]
    if failed:
        last = failed[0].strip().splitlines()[-1]
        lines.append(f"{len(failed)} trials failed, the first with: {last}")
    asked = planner.config.micro_batch
    reduced = [record for record in records if record.config.micro_batch != asked]
    if reduced:
        least = min(record.config.micro_batch for record in reduced)
        lines.append(
            f"{len(reduced)} trials ran out of memory and were begun anew with a smaller "
            f"micro-batch, down to {least} (column micro_batch)"
        )
    return lines
