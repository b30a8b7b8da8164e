"""Lends the tests small networks, and one thread."""

from collections.abc import Iterator

import pytest
import torch

from tests.helpers.trial_reference import dropout_net, tanh_net
from trainables.network.models import MODELS


@pytest.fixture(autouse=True)
def _small_networks_and_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(MODELS, "tanh", tanh_net)
    monkeypatch.setitem(MODELS, "dropout", dropout_net)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
