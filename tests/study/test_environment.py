"""Machines as they come: temporary directories that are too long or locked, no home, tokens."""

import os
import socket
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import ray
from ray._raylet import AuthenticationTokenLoader, Config

from study.cluster import environment
from study.cluster.cluster import Resources, check_address, start
from trainables.data.image_data import cache_dir
from trainables.spec.errors import UsageError

UNFIT = ((f"/tmp/{'x' * 95}", "is too long"), ("/dev/null", "cannot be written to"))
NAMES = (environment.PLACE, environment.TOKEN, environment.TOKEN_PATH, "RAY_AUTH_MODE", "TMPDIR")


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path) -> Iterator[None]:
    """Nothing set but a home of one's own; what is set is undone, in Ray's memory too."""
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.setenv(name, "")  # so that it is restored
            patch.delenv(name)
        patch.setenv("HOME", str(tmp_path / "home"))
        _remembered()
        yield
    _remembered()


def _remembered() -> None:
    """Ray reads its mode and token once; here, as they are now."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def test_the_longest_directory_is_the_longest_of_which_a_socket_has_a_path() -> None:
    inside = "s" * (environment.INSIDE - 1)
    for length, fits in ((environment.LONGEST, True), (environment.LONGEST + 1, False)):
        path = f"/{'d' * (length - 1)}/{inside}"
        with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError) as raised:
            made.bind(path)
        assert ("too long" not in str(raised.value)) == fits  # the directory is not there


def test_a_temporary_directory_that_serves_is_used() -> None:
    assert environment.prepare() == [] and os.environ[environment.PLACE] == "/tmp"
    del os.environ[environment.PLACE]
    os.environ["TMPDIR"] = "/var/tmp"
    assert environment.prepare() == [] and os.environ[environment.PLACE] == "/var/tmp"


def test_one_that_does_not_is_said_and_ray_takes_the_usual_one() -> None:
    for place, why in UNFIT:
        os.environ["TMPDIR"] = place
        [line] = environment.prepare()
        assert line.startswith(f"TMPDIR: {place} {why}") and line.endswith("in /tmp/ray")
        assert os.environ.pop(environment.PLACE) == "/tmp"


def test_one_that_is_named_for_ray_is_refused() -> None:
    for place, why in UNFIT:
        os.environ[environment.PLACE] = place
        with pytest.raises(UsageError, match=rf"^RAY_TMPDIR: {place} {why}.*; accepted: "):
            environment.prepare()


def test_a_session_has_a_token_of_its_own_where_home_keeps_none(tmp_path: Path) -> None:
    environment.prepare()
    assert environment.TOKEN not in os.environ  # Ray leaves one there
    os.environ["HOME"] = "/dev/null"
    environment.prepare()
    assert len(os.environ[environment.TOKEN]) == 64
    os.environ[environment.TOKEN_PATH] = str(tmp_path / "none")
    with pytest.raises(UsageError, match=r"^RAY_AUTH_TOKEN_PATH: .*none cannot be read; accepted"):
        environment.prepare()


def test_without_a_home_data_are_kept_among_temporary_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("LARGE_BATCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_dir() == Path("/tmp/large-batch-study")


class Head(grpc.GenericRpcHandler):
    """A head node as far as it tells who may come in: all, or who has the token."""

    def __init__(self, token: str | None) -> None:
        self.token = token

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        bearer = ("authorization", f"Bearer {self.token}")
        known = self.token is None or bearer in details.invocation_metadata

        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            if not known:
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "InvalidAuthToken")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@pytest.fixture
def head(request: pytest.FixtureRequest) -> Iterator[str]:
    """Its address."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Head(getattr(request, "param", "a" * 64)),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None)


@pytest.mark.parametrize(
    ("head", "mode"), [("a" * 64, "token"), (None, "disabled")], indirect=["head"]
)
def test_a_token_at_home_opens_a_cluster_that_asks_for_one(
    head: str, mode: str, tmp_path: Path
) -> None:
    """Told to one that does not, Ray's nodes would not answer to each other."""
    (tmp_path / "home" / ".ray").mkdir(parents=True)
    (tmp_path / "home" / ".ray" / "auth_token").write_text("a" * 64)
    check_address(head)
    assert os.environ["RAY_AUTH_MODE"] == mode


@pytest.mark.parametrize("ours", ["", "b" * 64])
def test_none_or_another_is_said_with_what_to_do(head: str, ours: str) -> None:
    if ours:
        os.environ[environment.TOKEN] = ours
    with pytest.raises(UsageError) as raised:
        check_address(head)
    said = str(raised.value)
    assert said.startswith(f"--address: {head} asks for a token, and has got none or another")
    assert "~/.ray/auth_token" in said and "RAY_AUTH_TOKEN" in said and "\n" not in said


def test_where_nothing_answers_there_is_no_cluster() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for address in (f"127.0.0.1:{port}", "127.0.0.1", "nowhere"):
        with pytest.raises(
            UsageError, match=rf"^--address: no Ray cluster at {address} .*\bauto\b"
        ):
            check_address(address)


def test_a_dead_ray_address_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UsageError, match=r"^--address: no Ray cluster at .*:1 of RAY_ADDRESS"):
        check_address("auto")


@pytest.mark.parametrize("head", [None], indirect=True)
def test_a_proxy_for_the_world_is_not_asked_for_a_node(
    head: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "no_grpc_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    check_address(head)


@pytest.mark.parametrize("said", ["\nGCS is overloaded\nand more", " \n", ""])
def test_a_ray_that_does_not_start_gives_a_reason(
    said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(ray, "init", init)
    reason = said.strip().split("\n")[0] or "RuntimeError"
    with pytest.raises(UsageError, match=rf"^Ray does not start here \({reason}\); accepted: "):
        start(Resources(1, 0), False, {})
