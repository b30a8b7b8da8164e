"""A methods section from manifest and configuration: what a reader needs to make a study again."""

from pathlib import Path
from typing import Any

from analysis.data.provenance import directories, manifests
from analysis.data.study import Study
from analysis.latex.recipe import Facts, code, data_set, given, listed, methods, network, schedule
from analysis.latex.tex import breakable, escape, num
from analysis.questions.answers import Answers
from analysis.questions.rungs import rungs
from trainables.spec.columns import MEASURES
from trainables.spec.roles import SMALL_BATCH

SAMPLERS = {
    "surface": "Thompson sampling from a Gaussian process over LR, radius and batch size, fitted "
    "to all trials of the method that have ended (the first 2 are points of a scrambled Halton "
    "sequence, under a formulation within two octaves of the LR at which its optimizer alone is "
    "expected to be best, the last lies where the expected score is highest and is trained to its "
    "end; the winner is the complete trial whose expected score is highest)",
    "tpe": "Optuna's tree-structured Parzen estimator (multivariate, constant liar) after the "
    "first points of a scrambled Halton sequence, 4 of them without and 6 with a radius",
    "qmc": "a scrambled Halton sequence",
    "random": "independent uniform draws",
    "grid": "a grid of even logarithmic steps, each of its points on the same number of seeds and "
    "the best on more",
}
SCORES = {
    "log_error": "minus the logarithm of the validation error (with half an image added to the "
    "wrong ones and to all)",
    "accuracy": "validation accuracy",
    "loss": "minus the validation loss",
}
SURFACE = (
    r"LR$^*$ is the maximum of the expected score, a Gaussian process in $\log$ LR, $\log\rho$ "
    r"and $\log B$ through all trials of a method, with the 95\,\% interval of its posterior"
)
ENVELOPE = (
    r"LR$^*$ of methods whose trials differ in what the table does not hold is the maximum of the "
    r"upper envelope of a cell's trials over $\log$ LR, by quantile regression"
)
LAWS = (
    "laws of the batch size are fitted by maximum likelihood with the cells as replicates, each "
    "missing the law by a random effect; a bend, with one slope up to a batch size and another "
    r"beyond, is told where it rejects the power law at 5\,\% and predicts a batch size left out "
    "better"
)
SHARE = (
    "the recovered share is (method $-$ plain) / (small batch $-$ plain) with Fieller's interval"
)
SPLIT = (
    "what is lost in validation accuracy is split where learning curves had equal training loss, "
    "with $t$ intervals"
)
PAIRS = "methods are compared by $t$ tests paired by seed with Holm's correction"
TRUTH = (
    r"All of it, and how often the intervals hold the truth, is described in "
    r"\texttt{docs/statistics.md} of the code."
)


def _statistics(found: Answers) -> str:
    """How what was asked was answered; what this study could not be asked is left out."""
    if not len(found.study.trials):
        return ""
    without = [each for each in found.responses if each.surface is None]
    said = {
        SURFACE: len(without) < len(found.responses),
        ENVELOPE: bool(found.enveloped),
        LAWS: any(each.points for each in found.scalings.get("lr", ())),
        SHARE: any(each.overall for each in found.compensations),
        SPLIT: any(each.split.cells for each in found.compensations),
        PAIRS: len(found.pairs) > 0,
    }  # fmt: skip
    sentences = "; ".join(text for text, holds in said.items() if holds)
    return f"{sentences[:1].upper()}{sentences[1:]}. {TRUTH}" if sentences else ""


def methods_tex(found: Answers) -> str:
    r"""Paragraphs of LaTeX, to \input as they are: one set for each study, then what all share.

    What neither manifest nor configuration holds is left out, or said to be unknown.
    """
    study = found.study
    names = list(study.config.get("studies") or [_name(study)])
    known, own = manifests(study), directories(study)
    paragraphs = ["% Methods, from manifest and configuration; to be \\input as it is."]
    for name in names:
        if len(names) > 1:
            paragraphs.append(rf"\emph{{Study {breakable(name)}.}}")
        if name in own:
            paragraphs += _study(study, name, known.get(name, {}), len(names) > 1)
        else:
            paragraphs.append(_table(study, name, len(names) > 1))
    paragraphs += [_sharpness(found), _statistics(found)]
    return "\n\n".join(filter(None, paragraphs)) + "\n"


def _name(study: Study) -> str:
    return str(study.config.get("name") or study.path.name)


def _study(study: Study, name: str, manifest: dict[str, Any], joined: bool) -> list[str]:
    """The paragraphs on one study: data and network, steps, search, confirmation, machine."""
    config: Facts = _part(manifest, "config") if joined else study.config
    trials = study.trials[study.trials["study"].eq(name)] if joined else study.trials
    groups = [
        network(config) + data_set(config, _part(manifest, "data")),
        methods(config) + schedule(config),
        _search(config) + _counted(trials),
        _confirmed(config, manifest),
        _machine(config, manifest),
    ]
    return ["\n".join(lines) for lines in groups if lines]


def _part(manifest: Facts, name: str) -> dict[str, Any]:
    found = manifest.get(name)
    return found if isinstance(found, dict) else {}


def _search(config: Facts) -> list[str]:
    sizes, lines = config.get("batch_sizes"), []
    if isinstance(sizes, list) and sizes:
        lines.append(f"Batch sizes are {listed([given(size) for size in sizes])}; a cell is a "
                     "method at a batch size (and $m$).")  # fmt: skip
    ranges = [
        (f"{what} of {code(name)}", ends)
        for what, option in (("the LR", "lr_ranges"), (r"$\rho$", "rho_ranges"))
        for name, ends in _part(config, option).items()
        if isinstance(ends, list) and len(ends) == 2
    ]
    searched = [f"{what} from {given(low)} to {given(high)}"
                for what, (low, high) in ranges if low < high]  # fmt: skip
    held = [f"{what} is held at {given(low)}" for what, (low, high) in ranges if low == high]
    if searched:
        verb = "are" if len(searched) > 1 else "is"
        lines.append(f"At every batch size {listed(searched)} {verb} searched, evenly in the "
                     "logarithm.")  # fmt: skip
    if held:
        lines.append(f"Not searched: {listed(held)}.")
    if {"trials", "sampler", "score"} <= config.keys():
        sampler = SAMPLERS.get(str(config["sampler"]), code(config["sampler"]))
        score = SCORES.get(str(config["score"]), code(config["score"]))
        alone = "" if config["sampler"] == "surface" else "by itself "
        lines.append(
            f"Each cell is searched {alone}with {given(config['trials'])} trials, proposed by "
            f"{sampler}, for the highest score at the end of training, {score}."
        )
    if {"scheduler", "reports", "control_share"} <= config.keys():
        lines.append(_stopping(config))
    if isinstance(config.get("warm"), dict) and config["warm"]:
        lines.append(f"In {len(config['warm'])} cells the first points are another study's.")
    return lines


def _stopping(config: Facts) -> str:
    said = f"Every trial reports {given(config['reports'])} times, evenly over its own schedule"
    places = listed([str(rung) for rung in rungs(config)])
    if config["scheduler"] != "asha":
        return f"{said}, and is trained to its end."
    share = num(f"{config['control_share'] * 100:g}")
    grace = config.get("grace")
    first = f"its first {given(grace)} and " if grace else ""
    return (
        f"{said}; asynchronous successive halving (Li et al., 2020; reduction 2) stops it within "
        rf"its cell after reports {places}, but for {first}controls, a random {share}\,\% of the "
        "trials, that are never stopped."
    )


def _counted(trials: Any) -> list[str]:
    if trials.empty:
        return ["No trial has been run yet."]
    counts = ", ".join(f"{n} {escape(word)}" for word, n in trials["status"].value_counts().items())
    return [
        f"In all, {len(trials)} trials were run ({counts}); one has diverged if its loss is not "
        "finite or its training loss has not fallen."
    ]


def _confirmed(config: Facts, manifest: Facts) -> list[str]:
    if "seeds" not in config:
        return []
    seeds = manifest.get("confirm_seeds")
    surface = config.get("sampler") == "surface"
    best = "trial whose expected score is highest among those" if surface else "best trial"
    lines = [
        f"Of each cell the {best} that came to its end is trained again on "
        f"{given(config['seeds'])} fresh seeds, the same for all cells, from which alone "
        "accuracies are taken."
    ]
    if config.get("neighbours"):
        lines.append("So are half and twice its learning rate.")
    if isinstance(seeds, list) and seeds:
        lines.append(f"The seeds are {listed([breakable(seed) for seed in seeds])}.")
    lines.append(
        "A seed sets the initial weights, the order of the images and all else that is drawn in "
        "training."
    )
    searched = [ends for ends in _part(config, "lr_ranges").values() if ends[0] < ends[1]]
    if config.get("reference_seeds") and searched:
        count = config["reference_seeds"]
        lines.append(
            f"Plain methods are also trained with {given(count)} fresh "
            f"{'seed' if count == 1 else 'seeds'} at each larger batch with the learning rate "
            rf"of the plain winner at $B\leq{SMALL_BATCH}$ that scores best on theirs, as it is, "
            "times the square root of the ratio of batch sizes, and times the ratio."
        )
        if surface:
            lines.append(rf"At $B>{SMALL_BATCH}$ these may be the best of the cell too.")
    return lines


def _machine(config: Facts, manifest: Facts) -> list[str]:
    if not manifest:
        return ["Hash of the data, seeds, versions and hardware are not known: the study has no "
                "manifest."]  # fmt: skip
    hardware, options, lines = _part(manifest, "hardware"), _part(manifest, "options"), []
    if "processor" in hardware:
        said = breakable(hardware["processor"])
        said += f", {given(hardware['cores'])} cores" if "cores" in hardware else ""
        if isinstance(memory := hardware.get("memory_bytes"), int):
            said += f", {memory / 2**30:.0f}" r"\,GiB of memory"
        gpus = hardware.get("gpus")
        if isinstance(gpus, list):
            said += ", " + (listed([breakable(gpu) for gpu in gpus]) if gpus else "no GPU")
        lines.append(f"The machine that led the study has {said}.")
    if {"cpus_per_trial", "gpus_per_trial"} <= options.keys():
        shares = (f"{what} {given(options[key])}" for what, key in
                  (("CPUs", "cpus_per_trial"), ("GPUs", "gpus_per_trial")))  # fmt: skip
        lines.append(f"Given to each trial are {', '.join(shares)}.")
    versions = {k: v for k, v in _part(manifest, "versions").items() if v != "absent"}
    if versions:
        lines.append(
            f"Versions: {', '.join(f'{escape(k)} {escape(v)}' for k, v in versions.items())}."
        )
    revision = manifest.get("git_revision")
    if isinstance(revision, str):
        changed = ", with changes that are not committed" if revision.endswith("+") else ""
        lines.append(f"The code is at revision {code(revision.rstrip('+'), 8)}{changed}.")
    else:
        lines.append("The revision of the code is not known.")
    if options:
        command = "python -m study.run --config manifest.json --name again"
        lines.append(rf"With the study's \texttt{{manifest.json}}, {code(command)} makes it again.")
    return lines


def _table(study: Study, name: str, joined: bool) -> str:
    """All that a table from elsewhere says."""
    trials = study.trials[study.trials["study"].eq(name)] if joined else study.trials
    file = Path(str(_part(study.config, "studies").get(name) or study.config.get("table") or name))
    said = f"{code(file.name)} is a table of {len(trials)} trials from elsewhere"
    if trials.empty:
        return f"{said}."
    names, sizes = sorted(set(trials["method"])), sorted(set(trials["batch_size"]))
    ends = [num(f"{end:.4g}") for end in (trials["lr"].min(), trials["lr"].max())]
    return (
        f"{said}: {listed([code(each) for each in names])} at batch sizes "
        f"{listed([num(f'{size:g}') for size in sizes])} and learning rates from {ends[0]} to "
        f"{ends[1]}.\nNetwork, data, schedule, seeds, versions and hardware are not known from it."
    )


def _sharpness(found: Answers) -> str:
    at = found.minima
    named = [MEASURES[name].said for name in at.measures if MEASURES[name].said]
    if not named:
        return ""
    return (
        f"At the minima of the winners on fresh seeds {listed(named)} are measured (level "
        f"{escape(at.level)}) on the first {at.images} training images, without augmentation and "
        r"in evaluation mode; the methods and their costs are in \texttt{docs/sharpness.md} of "
        "the code."
    )
