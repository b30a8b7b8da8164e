"""A trained network as a safetensors file: read anywhere, without executing code."""

import json
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from trainables.network import models
from trainables.spec.errors import UsageError
from trainables.spec.trial import TrialConfig


def path(results: Path, trial_id: str) -> Path:
    """Where a study keeps a trial's weights."""
    return results / "weights" / f"{trial_id}.safetensors"


def to_bytes(model: nn.Module, config: TrialConfig) -> bytes:
    """Weights and buffers, with the trial's configuration, as a file's content."""
    # Copies, since safetensors takes neither tensors that share memory nor channels-last ones.
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in model.state_dict().items()
        if isinstance(value, Tensor)
    }
    return safetensors.torch.save(tensors, {"config": json.dumps(config.to_dict())})


def load(content: bytes, config: TrialConfig, shape: models.Shape, classes: int) -> nn.Module:
    """The network of `config` with the weights that `to_bytes` gave.

    Raises
    ------
    UsageError
        If they are damaged or another network's.
    """
    model = models.build(config.model, shape, classes)
    try:
        end = 8 + int.from_bytes(content[:8], "little")
        of = json.loads(json.loads(content[8:end])["__metadata__"]["config"])
        if of != config.to_dict():
            raise ValueError(f"they are of {of['trial_id']} as trained otherwise")
        model.load_state_dict(safetensors.torch.load(content))
    except (SafetensorError, RuntimeError, ValueError, LookupError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"the saved weights of {config.trial_id} cannot be used ({reason}); "
            f"accepted: the safetensors file that this trial has left"
        ) from None
    return model
