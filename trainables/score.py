"""What a search maximises, finite for every outcome so that a diverged trial can be ranked."""

import math


def score(name: str, val_loss: float, val_accuracy: float, images: int, classes: int) -> float:
    """Higher is better; never below `worst_score`.

    `log_error` is minus the log of the validation error (with half a wrong image added, so that
    no error is finite), `accuracy` the validation accuracy, `loss` minus the validation loss.
    """
    if not math.isfinite(val_loss):
        return worst_score(name, classes)
    if name == "log_error":
        wrong = round((1 - val_accuracy) * images)
        value = -math.log((wrong + 0.5) / (images + 0.5))
    else:
        value = val_accuracy if name == "accuracy" else -val_loss
    return max(value, worst_score(name, classes))


def worst_score(name: str, classes: int) -> float:
    """The score of a diverged trial: every image wrong, or ten times the loss of guessing."""
    return -10 * math.log(classes) if name == "loss" else 0.0
