"""The Ray cluster: started here or joined, what it has, and whether its nodes share the storage."""

import logging
import math
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import ray
from ray._private.authentication import authentication_token_setup as authentication
from ray._private.grpc_utils import init_grpc_channel
from ray.exceptions import AuthenticationError, RayError, RayTaskError
from ray.job_config import JobConfig
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainables.spec.allowed import cores, slices
from trainables.spec.errors import UsageError
from trainables.storage import Storage

ASK_SECONDS = 2.0  # between two looks at what the cluster has
WHICH_CLUSTER, ANSWER_SECONDS = "/ray.rpc.NodeInfoGcsService/GetClusterId", 10.0


@dataclass(frozen=True)
class Resources:
    """What each worker of a trial occupies, and where: `address` is a Ray cluster's, None for this
    machine; `workers` of a trial, at the least. `gpus` are None until they are chosen."""

    cpus: float
    gpus: float | None
    address: str | None = None
    workers: int = 1

    @property
    def bundle(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})

    def slots(self) -> int:
        """Workers that the connected cluster has room for, as it is now."""
        return sum(self._fit(node["Resources"]) for node in ray.nodes() if node["Alive"])

    def per_gpu(self) -> int:
        """Workers of a GPU for whom there are CPUs, on the node with the fewest; 0 without GPUs."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        able = [n for n in nodes if n.get("GPU", 0) >= 1 and n.get("CPU", 0) >= self.cpus]
        return min((max(1, int(n["CPU"] / self.cpus / n["GPU"])) for n in able), default=0)

    def nodes(self) -> list[str]:
        """The ids of the nodes that train."""
        alive = (node for node in ray.nodes() if node["Alive"])
        return [node["NodeID"] for node in alive if self._fit(node["Resources"])]

    def _fit(self, node: dict[str, float]) -> int:
        by_cpus = int(node.get("CPU", 0) / self.cpus)
        if not self.gpus:
            return by_cpus
        have = node.get("GPU", 0)  # a share of a GPU must lie on one
        by_gpus = int(have) * int(1 / self.gpus) if self.gpus < 1 else int(have / self.gpus)
        return min(by_cpus, by_gpus)


def start(resources: Resources, dashboard: bool, job: dict[str, str]) -> str | None:
    """Connect to or start Ray; the dashboard's URL where there is one, which shows `job`."""
    try:
        context = ray.init(
            address=resources.address or "local",  # None would join any cluster that is about
            num_cpus=None if resources.address else cores(),
            num_gpus=None if resources.address else slices() or None,
            include_dashboard=dashboard if resources.address is None else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            job_config=JobConfig(metadata=job),
        )
    except Exception as error:  # of any kind, also bare ones where a machine is too busy
        lines = filter(None, map(str.strip, str(error).splitlines()))  # the first may be blank
        reason = next(lines, type(error).__name__)
        if resources.address is None:
            raise UsageError(
                f"Ray does not start here ({reason}); accepted: the same command on a machine that "
                "is less busy, or --address of a running cluster"
            ) from None
        raise UsageError(
            f"--address: Ray does not answer ({reason}); accepted: none to start one here, auto or "
            "HOST:PORT of a running cluster of the same version"
        ) from None
    return context.dashboard_url


def check_address(address: str) -> None:
    """Raises UsageError where no cluster answers, or none without a token that is not here.

    Ray itself waits for minutes, and looks for a token with `auto` alone.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)  # it would advise on tokens
    token = (
        "that of the head's ~/.ray/auth_token, in the same file here or in RAY_AUTH_TOKEN, and no "
        "RAY_AUTH_MODE"
    )
    source, accepted = "", "auto on a node of a running Ray cluster, or its HOST:PORT"
    try:
        if address == "auto":
            source = " of RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") else ""
            address = ray._private.services.canonicalize_bootstrap_address_or_die(address)
        elif not re.fullmatch(r".+:\d+", address):
            raise ConnectionError("no HOST:PORT")
        try:
            _ask(address)
            os.environ.setdefault(authentication.AUTH_MODE_ENV_VAR, "disabled")  # as there
        except grpc.RpcError as error:
            if error.code() != grpc.StatusCode.UNAUTHENTICATED:
                raise
            authentication.maybe_enable_token_auth_if_token_available()
            _ask(address)
        return
    except ConnectionError as error:
        wrong = f"no Ray cluster at {address} ({error})"
    except AuthenticationError as error:  # a file that RAY_AUTH_TOKEN_PATH names is not there
        wrong, accepted = error.message, token
    except grpc.RpcError as error:
        wrong = f"no Ray cluster at {address}{source} ({error.details()})"
        if error.code() == grpc.StatusCode.UNAUTHENTICATED:
            wrong, accepted = f"{address} asks for a token, and has got none or another", token
    raise UsageError(f"--address: {wrong}; accepted: {accepted}")


def _ask(address: str) -> None:
    # Nodes are asked as Ray asks them, past a proxy that the environment names for the world.
    with init_grpc_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        channel.unary_unary(WHICH_CLUSTER)(b"", timeout=ANSWER_SECONDS)


def require_slots(resources: Resources) -> None:
    """Raises UsageError where the connected cluster has no room for a trial."""
    slots = resources.slots()
    if 0 < slots < resources.workers:
        raise UsageError(
            f"--workers-per-trial: {resources.workers} workers, for whom the cluster has no room; "
            f"accepted: up to {slots}"
        )
    if slots < 1:
        have = {k: v for k, v in ray.cluster_resources().items() if k in ("CPU", "GPU")}
        raise UsageError(
            f"--gpus-per-trial: {resources.gpus or 0:g} GPUs and {resources.cpus:g} CPUs a trial "
            f"fit no node; accepted: what the cluster has, {have}"
        )


def require_shared(storage: Storage, given: bool, nodes: list[str]) -> None:
    """Prepare the storage; `given` says whether one was asked for.

    Raises
    ------
    UsageError
        If several nodes train and there is none, or one of them does not reach it.
    """
    if len(nodes) > 1 and not given:
        raise UsageError(
            f"--storage: none is given, and the {len(nodes)} nodes of the cluster must share the "
            "checkpoints; accepted: a directory that all of them share, or a URI such as "
            "s3://BUCKET/PATH"
        )
    storage.prepare()
    task = ray.remote(num_cpus=0)(lambda: storage.read("probe") is not None)
    on = {n: NodeAffinitySchedulingStrategy(n, soft=False) for n in nodes if len(nodes) > 1}
    seen = [task.options(scheduling_strategy=strategy).remote() for strategy in on.values()]
    for node, reached in zip(on, seen, strict=True):
        if not _answer(reached):
            raise UsageError(
                f"--storage: {storage.place} is not the same on node {node[:12]}; accepted: a "
                "directory that all nodes share, or a URI such as s3://BUCKET/PATH"
            )


def _answer(reached: ray.ObjectRef) -> bool:
    try:
        return ray.get(reached)
    except RayTaskError:  # as where it may not be read
        return False
    except RayError:  # the node has died since it was listed: no trial will be there
        return True


def lately(call: Callable[[], int]) -> Callable[[], int]:
    """`call` asked every few seconds at most, as it takes a while."""
    asked, answer = -math.inf, 0

    def latest() -> int:
        nonlocal asked, answer
        if time.monotonic() - asked > ASK_SECONDS:
            answer, asked = call(), time.monotonic()
        return answer

    return latest
