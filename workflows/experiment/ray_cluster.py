"""Connects to Ray: the cluster that is there, or one on this machine; and says what it can hold."""

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

PROBE_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 60.0
TOKEN_FILE = Path("~/.ray/auth_token")
CURRENT_CLUSTER_FILE = Path("/tmp/ray/ray_current_cluster")
"""Where `ray start` leaves its cluster's address, and where `ray.init()` looks for it."""


@dataclass(frozen=True)
class Cluster:
    """What there is to run on."""

    resources: dict[str, float]
    """Ray's own names: CPU, GPU, memory, …"""
    is_local: bool
    """Started here for this run; no other machine will ever join it."""


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to Ray; disconnect at the end, which also stops a cluster that was started here.

    Without `address` it is the cluster that RAY_ADDRESS names or that `ray start` or `ray up` left on this machine, else a new local one,
    guarded by Ray's token; "local" is always a new one. Raises UsageError where the cluster can't be reached.
    """
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # Ray's coming default; unset, it warns about it
    logging.getLogger("ray").setLevel(logging.ERROR)
    target = _target(address)
    import ray
    from ray.exceptions import RayError

    had_token = TOKEN_FILE.expanduser().exists()
    with _interrupts_wait():
        try:
            ray.init(
                address=target,
                include_dashboard=False if target == "local" else None,
                log_to_driver=False,  # the workers' output is in each trial's folder
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError, RayError) as error:
            reason = " ".join(str(error).split())[:300]
            if target != "local" and os.environ.get("RAY_AUTH_MODE") != "token":
                reason += "; RAY_AUTH_MODE is not token in this shell: on a cluster's machines, login shells have it (bash -lic '…')"
            raise UsageError(
                f"the Ray cluster {target!r} can't be reached ({reason}); --address local starts one of its own"
            ) from None
    if not had_token and TOKEN_FILE.expanduser().exists():
        TOKEN_FILE.expanduser().chmod(
            0o600
        )  # whoever reads it can run code here, and Ray leaves it readable to all
    try:
        yield Cluster(ray.cluster_resources(), is_local=target == "local")
    finally:
        ray.shutdown()


def _target(address: str) -> str:
    """Return what to connect to: "local" or host:port, where something answers."""
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
        raise UsageError(
            f"{source} {target!r} can't be reached ({error}); --address local starts a cluster of its own"
        ) from None
    return target


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Put Ctrl-C off until the end: a Ray that is half started would crash the interpreter."""
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
    """Raise UsageError unless all machines of the cluster see this folder, which is there; Ray would fail at the first checkpoint.

    A machine that joins later is not asked: there, Ray's own check ends the trial.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def sees(path: str) -> bool:
        return os.path.isdir(path)

    here = ray.get_runtime_context().get_node_id()
    answers = {
        node["NodeManagerAddress"]: ray.remote(sees)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False))
        .remote(str(folder))
        for node in ray.nodes()
        if node["Alive"] and node["NodeID"] != here
    }
    for address, answer in answers.items():
        try:
            seen = ray.get(answer, timeout=ANSWER_TIMEOUT_S)
        except (
            GetTimeoutError,
            RayError,
        ):  # a machine that went, or is slow to start a process: the trials will tell
            continue
        if not seen:
            rule = f"must be a folder that every machine of the cluster shares; {address} does not see it"
            raise UsageError(f"--storage-path {str(folder.parent)!r} {rule}")


def require_resources(cluster: Cluster, kind: str, wanted: float, asked: str) -> str:
    """Return "", or a warning where what was asked for (`asked`, as the subject of a sentence) must wait until the cluster grows.

    Raises UsageError, with the numbers, where it can never start: on a cluster that is this machine alone. `kind` is Ray's: CPU or GPU.
    """
    have = cluster.resources.get(kind, 0)
    if wanted <= have:
        return ""
    message = f"{asked} more than the {several(have, kind)} that {'is' if have == 1 else 'are'} there"
    if cluster.is_local:
        raise UsageError(message)
    return message + "; the run will wait until the cluster grows, if it can"


def several(count: float, what: str) -> str:
    """Return so many of them, in words: 1 GPU, 2 GPUs."""
    return f"{count:g} {what}{'' if count == 1 else 's'}"
