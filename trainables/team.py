"""The other workers of a trial: actors beside its own, which train as it does on shares of its
batches, and fail and leave with it."""

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainables.data.batches import DeviceData
from trainables.data.image_data import ImageData
from trainables.spec.plugins import reason
from trainables.spec.trial import TrialConfig
from trainables.step import memory
from trainables.step.ranks import ALONE, Parted, Ranks, found, joined, leave, served
from trainables.training import Training

Shared = list["ray.ObjectRef[ImageData]"]  # of one, in a list as Ray would else resolve it


class Failure(NamedTuple):
    """Why a worker has left: without `memory`, or since others have (`parted`)."""

    reason: str
    text: str
    memory: bool
    parted: bool

    @classmethod
    def of(cls, error: Exception) -> "Failure":
        exhausted, parted = memory.exhausted(error), isinstance(error, Parted)
        return cls(reason(error), traceback.format_exc(), exhausted, parted)


class TrialWorker:
    """Rank `rank` of `size`; what it is told gives None, or the failure with which it has left."""

    def __init__(self, shared: Shared, rank: int, size: int) -> None:
        self.data, self.rank, self.size = ray.get(shared[0]), rank, size
        self.ranks = ALONE
        self.training: Training | None = None
        self.tensors: dict[str, DeviceData] = {}

    def join(self, host: str, port: int, device: str) -> Failure | None:
        return self._told(lambda: self._join(host, port, device))

    def begin(self, config: TrialConfig, state: bytes | None) -> Failure | None:
        """A trial, from a state or its beginning."""
        return self._told(lambda: self._begin(config, state))

    def train(self) -> Failure | None:
        """To the next report."""
        return self._told(self._train)

    def _join(self, host: str, port: int, device: str) -> None:
        leave()  # what the others have left while this one was waiting
        self.ranks = joined(found(host, port), self.rank, self.size, device)

    def _begin(self, config: TrialConfig, state: bytes | None) -> None:
        self.training = None
        if config.device not in self.tensors:
            self.tensors[config.device] = DeviceData(self.data, config.device)
        self.training = Training(config, self.tensors[config.device], ranks=self.ranks)
        if state is not None:
            self.training.from_bytes(state)

    def _train(self) -> None:
        assert self.training  # it has begun
        self.training.train()

    def _told(self, call: Callable[[], object]) -> Failure | None:
        try:
            call()
            return None
        except Exception as error:
            failure = Failure.of(error)
        self.training = None  # only here, since the error's frames have held its tensors
        leave()
        memory.release()
        return failure


class Team:
    """The `size` workers of a trial, of whom rank 0 is the caller; they stay from trial to trial.

    Raises
    ------
    MemoryError
        Where one of them had not enough.
    ray.exceptions.RayActorError
        Where one of them is dead.
    RuntimeError
        With the traceback of another failure of theirs.
    """

    def __init__(self, size: int, shared: Shared) -> None:
        self.size, self.shared = size, shared
        self.ranks = ALONE
        self.others: list[Any] = []

    def join(self, device: str) -> Ranks:
        """The caller as rank 0 beside the others, who are started where they are not."""
        if self.size > 1 and self.ranks is ALONE:
            self.others = self.others or [self._started(rank) for rank in range(1, self.size)]
            host = ray.util.get_node_ip_address()
            store = served(host)
            with self._told("join", host, store.port, device):
                self.ranks = joined(store, 0, self.size, device)
        return self.ranks

    def begin(self, config: TrialConfig, state: bytes | None) -> None:
        """The others begin the trial, from the state that the caller has, if it has one."""
        with self._told("begin", config, state):
            pass

    def training(self) -> contextlib.AbstractContextManager[None]:
        """The others train to the next report, as the caller does in the block."""
        return self._told("train")

    def leave(self) -> None:
        """Until the next `join`; the others fail in what they were told to do, if it takes all."""
        leave()
        self.ranks = ALONE

    def dismiss(self) -> None:
        for other in self.others:
            ray.kill(other)
        self.others = []

    def _started(self, rank: int) -> Any:
        """In bundle `rank` of the placement group of the trial, taking all that the bundle has."""
        group = get_current_placement_group()
        assert group  # Tune's, of the actor that asks
        bundle = group.bundle_specs[rank]
        strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=rank)
        return (
            ray.remote(TrialWorker)
            .options(
                num_cpus=bundle.get("CPU", 0),
                num_gpus=bundle.get("GPU", 0),
                scheduling_strategy=strategy,
            )
            .remote(self.shared, rank, self.size)
        )

    @contextlib.contextmanager
    def _told(self, call: str, *arguments: Any) -> Iterator[None]:
        """All others do it as the block runs; what fails there or here makes all leave."""
        calls = [getattr(other, call).remote(*arguments) for other in self.others]
        own: Exception | None = None
        try:
            yield
        except Exception as error:
            own = error
            self.leave()
        failures = [failure for failure in ray.get(calls) if failure]
        if failures:
            self.leave()
        if any(failure.memory for failure in failures):
            raise MemoryError(next(f.reason for f in failures if f.memory)) from own
        first = next((failure for failure in failures if not failure.parted), None)
        if first and (own is None or isinstance(own, Parted)):
            raise RuntimeError(f"in another worker of the trial:\n{first.text}") from own
        if own:
            raise own
        if failures:
            raise Parted(failures[0].reason)
