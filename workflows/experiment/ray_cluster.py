"""The connection to Ray: to the cluster that is there, or to a new one on this machine."""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflows.cli.flags import UsageError
from workflows.cli.terminal import several

PROBE_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
TOKEN_FILE = Path("~/.ray/auth_token")
CURRENT_CLUSTER_FILE = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` writes its cluster's address, and where `ray.init()` looks for it."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to run on."""

    resources: dict[str, float]
    """By Ray's names: CPU, GPU, memory, …"""
    is_local: bool
    """Whether it was started for this run; no other machine can join it."""

    @property
    def hardware(self) -> str:
        """Its CPUs and GPUs, in words."""
        return f"{self.resources.get('CPU', 0):g} CPUs, {self.resources.get('GPU', 0):g} GPUs"


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to Ray; disconnect at the end, which also stops a cluster that was started here.

    Without `address`, connect to the cluster of RAY_ADDRESS, or to that of `ray start` or `ray up` here.
    If there is none, or for "local", start a local one, which Ray's token guards.
    Raises UsageError if the cluster can't be reached.
    """
    # Ray's coming default; it warns while this is unset.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    target = _target(address)
    import ray

    had_token = TOKEN_FILE.expanduser().exists()
    with _interrupts_wait():
        _init(target)
    if not had_token and TOKEN_FILE.expanduser().exists():
        # Ray leaves it readable to all users, and whoever reads it can run code here.
        TOKEN_FILE.expanduser().chmod(0o600)
    try:
        yield Cluster(ray.cluster_resources(), is_local=target == "local")
    finally:
        ray.shutdown()


def _init(target: str) -> None:
    """Connect to host:port, or start a cluster if the target is "local"."""
    import ray
    from ray.exceptions import RayError

    try:
        ray.init(
            address=target,
            include_dashboard=False if target == "local" else None,
            log_to_driver=False,  # each trial's folder has what its process prints
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        reason = " ".join(str(error).split())[:300]
        if target != "local" and os.environ.get("RAY_AUTH_MODE") != "token":
            reason += "; RAY_AUTH_MODE is not token in this shell"
            reason += ": on a cluster's machines, login shells set it (bash -lic '…')"
        other = "--address local starts one of its own"
        raise UsageError(f"the Ray cluster {target!r} can't be reached ({reason}); {other}") from None


def _target(address: str) -> str:
    """Return "local", or the host:port of a cluster that answers."""
    source, target = "--address", address
    if not target and os.environ.get("RAY_ADDRESS"):
        source, target = "RAY_ADDRESS", os.environ["RAY_ADDRESS"]
    if not target and CURRENT_CLUSTER_FILE.exists():
        source, target = str(CURRENT_CLUSTER_FILE), CURRENT_CLUSTER_FILE.read_text().strip()
    if target in ("", "local"):
        return "local"
    host, _, port = target.rpartition(":")
    if not (host and port.isdigit() and "/" not in target):
        raise UsageError(f"{source} {target!r} must be HOST:PORT of a Ray cluster, or local")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:  # Ray itself would try for minutes
        other = "--address local starts a cluster of its own"
        raise UsageError(f"{source} {target!r} can't be reached ({error}); {other}") from None
    return target


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Delay Ctrl-C until the end: interrupting Ray's start would crash the interpreter."""
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        import ray

        ray.shutdown()
        raise KeyboardInterrupt


def require_shared(folder: Path) -> None:
    """Raise UsageError unless all machines of the cluster see this folder, which must exist.

    Without it, Ray would fail at the first checkpoint. A machine that joins later is checked by Ray.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def sees(path: str) -> bool:
        return os.path.isdir(path)

    answers = {}
    for node in ray.nodes():
        if node["Alive"] and node["NodeID"] != ray.get_runtime_context().get_node_id():
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ask = ray.remote(sees).options(num_cpus=0, scheduling_strategy=there)
            answers[node["NodeManagerAddress"]] = ask.remote(str(folder))
    for address, answer in answers.items():
        try:
            seen = ray.get(answer, timeout=ANSWER_TIMEOUT_S)
        except (
            GetTimeoutError,
            RayError,
        ):  # a machine that left, or starts a process slowly: its trials will tell
            continue
        if not seen:
            rule = f"must be a folder that every machine of the cluster shares; {address} does not see it"
            raise UsageError(f"--storage-path {str(folder.parent)!r} {rule}")


def require_resources(cluster: Cluster, kind: str, wanted: float, subject: str) -> str:
    """Return "", or a warning if the run must wait until the cluster grows.

    Raises UsageError, with the numbers, if a local cluster can't hold what is wanted. `kind` is CPU or GPU.
    `subject` is the subject of a sentence that says what is wanted.
    """
    have = cluster.resources.get(kind, 0)
    if wanted <= have:
        return ""
    message = f"{subject} more than the {several(have, kind)} that {'is' if have == 1 else 'are'} there"
    if cluster.is_local:
        raise UsageError(message)
    return message + "; the run will wait until the cluster grows, if it can"


def log_to_file(run_dir: Path) -> None:
    """Send Ray's log to a file in the run folder, to keep the console clean."""
    handler = logging.FileHandler(run_dir / "ray.log", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("ray")
    logger.setLevel(logging.WARNING)
    logger.handlers = [handler]
    logger.propagate = False
