"""Lets the tests import the packages under any pytest import mode, and lends them a tiny network."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from trial_reference import tanh_net  # noqa: E402

from trainables.models import MODELS  # noqa: E402


@pytest.fixture(autouse=True)
def _tiny_network_and_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "tanh", tanh_net)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
