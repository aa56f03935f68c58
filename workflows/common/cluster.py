"""Connects to Ray: the cluster that is there, or one on this machine; and says what it can hold."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflows.common.flags import UsageError

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

    Without `address` it is the cluster that `ray start` or `ray up` left on this machine (or that RAY_ADDRESS names), else a new local one,
    guarded by Ray's token. Raises UsageError where the cluster can't be reached.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; unset, it warns about it
    logging.getLogger("ray").setLevel(logging.ERROR)
    import ray
    from ray.exceptions import RayError

    is_local = address == "local" or not (address or os.environ.get("RAY_ADDRESS") or CURRENT_CLUSTER_FILE.exists())
    had_token = TOKEN_FILE.expanduser().exists()
    try:
        ray.init(
            address="local" if is_local else address or None,
            include_dashboard=False if is_local else None,
            log_to_driver=False,  # the workers' output is in each trial's folder
            logging_level=logging.ERROR,
        )
    except (ConnectionError, ValueError, RuntimeError, RayError) as error:
        reason = str(error).strip().splitlines()[0]
        where = address or os.environ.get("RAY_ADDRESS") or (CURRENT_CLUSTER_FILE.read_text().strip() if not is_local else "local")
        raise UsageError(f"--address {where!r} can't be reached ({reason}); --address local starts a cluster of its own") from None
    if not had_token and TOKEN_FILE.expanduser().exists():
        TOKEN_FILE.expanduser().chmod(0o600)  # whoever reads it can run code here, and Ray leaves it readable to all
    try:
        yield Cluster(ray.cluster_resources(), is_local)
    finally:
        ray.shutdown()


def require_resources(cluster: Cluster, cpus: float, gpus: float) -> str:
    """Return "", or a warning where a trial of this size must wait until the cluster grows.

    Raises UsageError, with the numbers, where it can never start: on a cluster that is this machine alone.
    """
    for flag, wanted, kind in (("--gpus-per-trial", gpus, "GPU"), ("--cpus-per-trial", cpus, "CPU")):
        have = cluster.resources.get(kind, 0)
        if wanted > have:
            message = f"{flag} {wanted:g} is more than the {have:g} {kind}s that are there"
            if cluster.is_local:
                raise UsageError(message)
            return message + "; trials wait until the cluster grows"
    return ""
