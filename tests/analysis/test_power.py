"""What a design could tell, before it is run: it must rise with what is spent, and be honest."""

from dataclasses import astuple

import numpy as np
import pytest

from analysis.power import assumed, main, power
from analysis.simulate import Design, Truth, simulate

PLAIN = Design(methods=("momentum",), trials=16)


def test_more_batch_sizes_and_smaller_misfit_tell_more():
    sure = power(PLAIN, Truth(misfit=0.1), repetitions=12)
    vague = power(PLAIN, Truth(misfit=1.0), repetitions=12)
    few = power(
        Design(methods=("momentum",), trials=16, batch_sizes=(64, 512, 4096)),
        Truth(misfit=0.1),
        repetitions=12,
    )
    assert sure.tells_half == 1 and sure.answered == 1
    assert sure.half_width < few.half_width and sure.half_width < vague.half_width
    assert few.tells_half < 1 and vague.tells_half < 1
    assert np.isnan(sure.recovered) and np.isnan(sure.difference), "no SAM in this design"


def test_a_recovered_share_drowns_in_noise():
    design = Design(trials=8)
    clear = power(design, Truth(loss=0.02, accuracy_sd=0.002), repetitions=8)
    lost = power(design, Truth(loss=0.02, accuracy_sd=0.1), repetitions=8)
    assert clear.recovered == 1 and lost.recovered < 0.5
    assert clear.share_half_width < lost.share_half_width


def test_the_same_seed_gives_the_same_power():
    once, again = (astuple(power(PLAIN, repetitions=3, seed=4)) for _ in range(2))
    np.testing.assert_equal(once, again)


def test_what_is_taken_from_a_study_is_what_the_study_was_made_of():
    made = Truth(curvature=0.2, misfit=0.0, seed_sd=0.02, noisier=0.3, loss=0.02,
                 accuracy_sd=0.004)  # fmt: skip
    design = Design(trials=40, seeds=12)
    truths = {"momentum": made, "momentum+sam": made}
    found = assumed(simulate(design, truths, np.random.default_rng(0))[0])
    assert found.curvature == pytest.approx(0.2, rel=0.25)
    assert found.seed_sd == pytest.approx(0.02, rel=0.4)
    assert found.accuracy_sd == pytest.approx(0.004, rel=0.4)
    assert found.noisier == pytest.approx(0.3, abs=0.1)
    assert found.loss == pytest.approx(0.02, rel=0.25)
    assert found.misfit < 0.1


def test_the_command_says_what_it_assumed(capsys):
    assert main(["--repetitions", "3", "--trials", "8", "--misfit", "0.25"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "3 simulated studies of 8 batch sizes x 8 trials, 3 seeds" in said
    assert "an SD of 0.25 octaves" in said and "a recovered share of 50%" in said


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["--batch-sizes", "8..4"], "--batch-sizes"),
        (["--batch-sizes", "big"], "--batch-sizes"),
        (["--trials", "0"], "--trials"),
        (["--seeds", "0"], "--seeds"),
        (["--repetitions", "-1"], "--repetitions"),
        (["--control-share", "2"], "--control-share"),
        (["--misfit", "-1"], "--misfit"),
        (["--like", "nowhere"], "--like"),
    ],
)
def test_bad_input_is_one_line(arguments, option, capsys):
    assert main(arguments) == 2
    printed = capsys.readouterr()
    [line] = printed.err.splitlines()
    assert printed.out == "" and line.startswith(f"python -m analysis.power: {option}: ")
