"""The columns of the tables that a study leaves, with their types in pandas, and what sharpness
measures are called."""

from dataclasses import dataclass

# Of a report: fractions for accuracies, nats for losses, bytes, seconds. `lr` is the scheduled
# learning rate of the last step; `samples` counts images, `grads` sequential batch gradients;
# `seconds` are spent in steps, of which `communication_seconds` in sums over all workers, waiting
# for the slowest included, `eval_seconds` in evaluation; `noise_scale` is B_simple in images;
# test_* and generalization_gap (train minus test accuracy) only where a trial ends; `workers`
# is how many share each batch, and `peak_memory` that of the first of them.
METRICS = {
    "report": "Int64",
    "progress": "float64",
    "epochs": "float64",
    "steps": "Int64",
    "samples": "Int64",
    "grads": "Int64",
    "score": "float64",
    "train_loss": "float64",
    "train_accuracy": "float64",
    "val_loss": "float64",
    "val_accuracy": "float64",
    "test_loss": "float64",
    "test_accuracy": "float64",
    "generalization_gap": "float64",
    "noise_scale": "float64",
    "diverged": "boolean",
    "seconds": "float64",
    "eval_seconds": "float64",
    "communication_seconds": "float64",
    "images_per_second": "float64",
    "peak_memory": "Int64",
    "workers": "Int64",
}
# Of a minimum, by trainables/minima/minimum.py on the first `sharpness_images` training images;
# null where not measured, _subspace also above 2.5 million weights. `sharpness` is the level, fast
# or full: they differ in their images, and in that sam_sharpness is SAM's one step or the maximum.
# sharpness_loss is the loss there, in nats, as are sam_ and asam_*; epsilon_* are Keskar's phi;
# sharpness_converged says whether all came within their tolerances; the norms are Euclidean.
SHARPNESS_COLUMNS = {
    "lambda_max": "float64",
    "lambda_min": "float64",
    "lambda_ratio_5": "float64",
    "hessian_trace": "float64",
    "hessian_trace_stderr": "float64",
    "epsilon_sharpness_1e3": "float64",
    "epsilon_sharpness_5e4": "float64",
    "epsilon_sharpness_1e3_subspace": "float64",
    "epsilon_sharpness_5e4_subspace": "float64",
    "sam_sharpness": "float64",
    "asam_sharpness": "float64",
    "asam_sharpness_mean": "float64",
    "asam_sharpness_mean_stderr": "float64",
    "weight_norm": "float64",
    "gradient_norm": "float64",
    "sharpness_loss": "float64",
    "sharpness": "str",
    "sharpness_images": "Int64",
    "sharpness_converged": "boolean",
    "sharpness_seconds": "float64",
}
# Of a point of the landscape: kind: slice (along one random direction) | plane (two) | line (to the
# minimum of the trial `other`, at alpha 1); alpha and beta are shares of the filters' norms, or of
# the line; train_* are of the first `images` training images, test_* on lines only.
POINT_COLUMNS = {
    "kind": "str",
    "trial_id": "str",
    "other": "str",
    "alpha": "float64",
    "beta": "float64",
    "images": "Int64",
    "train_loss": "float64",
    "train_accuracy": "float64",
    "test_loss": "float64",
    "test_accuracy": "float64",
}
REPORT_COLUMNS = {"trial_id": "str", "lr": "float64"} | METRICS
# Of a trial: `lr` is the peak of its schedule; `rho` 0 for none; `m` images share a perturbation;
# `micro_batch` is smaller than the study's where memory ran out before.
# phase: search | control | confirm; role: search | warm (a first point from another study) |
# winner | half | double | lr_copied | lr_sqrt | lr_linear | superseded (confirms what an extension
# of the study replaced by something better); status: complete | stopped | diverged | error |
# running; asha_would_stop_at is a report index, also for controls, which are not stopped. The
# metrics are the last report's.
CONFIG_COLUMNS = {
    "trial_id": "str",
    "method": "str",
    "optimizer": "str",
    "formulation": "str",
    "batch_size": "Int64",
    "m": "Int64",
    "lr": "float64",
    "rho": "float64",
    "momentum": "float64",
    "beta1": "float64",
    "beta2": "float64",
    "alpha": "float64",
    "micro_batch": "Int64",
    "phase": "str",
    "role": "str",
    "seed": "Int64",
    "status": "str",
    "asha_would_stop_at": "Int64",
    "error": "str",
}
TRIAL_COLUMNS = CONFIG_COLUMNS | METRICS | SHARPNESS_COLUMNS


@dataclass(frozen=True)
class Measure:
    """A measure of sharpness: its title in a figure, and in a sentence of LaTeX."""

    title: str
    said: str


# Those that methods and batch sizes are compared by, in the order in which they are shown.
MEASURES = {
    "lambda_max": Measure("λ_max", "the largest eigenvalue of the Hessian (Lanczos)"),
    "hessian_trace": Measure("trace of the Hessian", "its trace (Hutchinson)"),
    "epsilon_sharpness_1e3": Measure("Keskar's φ, ε = 1e-3", r"Keskar's $\phi$"),
    "epsilon_sharpness_5e4": Measure("φ, ε = 5e-4", ""),
    "sam_sharpness": Measure("SAM-sharpness", "the rise of the loss within SAM's ball"),
    "asam_sharpness": Measure("ASAM-sharpness", "that within ASAM's"),
    "asam_sharpness_mean": Measure("ASAM-sharpness, mean", "its mean there"),
}
