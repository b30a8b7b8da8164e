"""Lets the tests import the packages under any import mode, and lends them small networks."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from trial_reference import dropout_net, tanh_net  # noqa: E402

from trainables.network.models import MODELS  # noqa: E402


@pytest.fixture(autouse=True)
def _small_networks_and_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "tanh", tanh_net)
    monkeypatch.setitem(MODELS, "dropout", dropout_net)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
