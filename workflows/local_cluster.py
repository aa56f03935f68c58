"""Write the cluster file for your own machines: `local_cluster.py --head-ip … --worker-ips … --ssh-user …`.

cluster.yaml --> node types dropped, provider and auth replaced, the rest kept --> cluster.local.yaml
"""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workflows.cli.flags import UsageError, parse_plain, require, run_main

CLUSTER_FILE = Path(__file__).parent.parent / "cluster.yaml"
CLOUD_ONLY = ("available_node_types", "head_node_type", "upscaling_speed", "idle_timeout_minutes")
OLD_AUTOSCALER = "export RAY_enable_autoscaler_v2=0; "
"""With provider `local`, Ray 2.60's new autoscaler counts the head as a worker and leaves one machine out."""
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")
USER_NAME = re.compile(r"[A-Za-z_][\w.-]*\$?", re.ASCII)


@dataclass(frozen=True)
class LocalClusterFlags:
    """Write a file for `ray up` that makes a cluster of machines with SSH access. Nothing is started."""

    head_ip: str
    """Address or host name of the head machine, as the workers know it."""
    worker_ips: tuple[str, ...]
    """Addresses or host names of the worker machines."""
    ssh_user: str
    """User to log in as, the same on all machines."""
    ssh_private_key: str = ""
    """Private key to log in with (default: what `ssh` picks). The head gets a copy for the workers."""
    output: str = "cluster.local.yaml"
    """File to write. An existing file is replaced."""

    def __post_init__(self) -> None:
        rule, workers = "must be IPv4 addresses or host names", self.worker_ips
        require(_is_host(self.head_ip), "--head-ip", self.head_ip, rule)
        require(len(workers) > 0 and all(map(_is_host, workers)), "--worker-ips", workers, rule)
        hosts = {host.lower() for host in (self.head_ip, *workers)}
        rule = "must differ from each other and from --head-ip"
        require(len(hosts) == 1 + len(workers), "--worker-ips", workers, rule)
        is_name = USER_NAME.fullmatch(self.ssh_user) is not None
        require(is_name, "--ssh-user", self.ssh_user, "must be a user's name")


def _is_host(text: str) -> bool:
    """Return whether the text is an IPv4 address or a host name; Ray's provider `local` can't use IPv6."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return bool(HOST_NAME.fullmatch(text)) and not text.replace(".", "").isdigit()
    return True


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def derived(cluster: dict[str, Any], flags: LocalClusterFlags) -> dict[str, Any]:
    """Return `cluster` for Ray's provider `local`: other machines and login, everything else kept."""
    kept = {name: value for name, value in cluster.items() if name not in CLOUD_ONLY}
    auth = {"ssh_user": flags.ssh_user}
    if flags.ssh_private_key:
        auth["ssh_private_key"] = _absolute(flags.ssh_private_key)
    commands = cluster["head_start_ray_commands"]
    start = [OLD_AUTOSCALER * ("ray start" in command) + command for command in commands]
    return kept | {
        "provider": {"type": "local", "head_ip": flags.head_ip, "worker_ips": list(flags.worker_ips)},
        "auth": auth,
        "max_workers": len(flags.worker_ips),
        "head_start_ray_commands": start,
    }


def _require_files(flags: LocalClusterFlags) -> None:
    """Raise UsageError if the key is no private key, or the output would replace the key or cluster.yaml."""
    flag, given, key = "--ssh-private-key", flags.ssh_private_key, os.path.expanduser(flags.ssh_private_key)
    require(not key or os.path.isfile(key), flag, given, "must be a file")
    require(not key.endswith(".pub"), flag, given, "must be the private key, whose name has no .pub")
    for taken in filter(None, (str(CLUSTER_FILE), key)):
        is_free = os.path.realpath(os.path.expanduser(flags.output)) != os.path.realpath(taken)
        require(is_free, "--output", flags.output, "must be neither cluster.yaml nor the key")


def _say_next_steps(flags: LocalClusterFlags) -> None:
    """Print what was written, and how to start and stop the cluster."""
    key = f" -i {shlex.quote(_absolute(flags.ssh_private_key))}" if flags.ssh_private_key else ""
    stop = f"ssh -t{key} {flags.ssh_user}@$host \"bash -lic 'ray stop'\""
    output, num_workers = shlex.quote(flags.output), len(flags.worker_ips)
    print(f"{flags.output}: the head {flags.head_ip}, and {num_workers} worker{'s' * (num_workers > 1)}")
    print("~/ray_results must be a folder that all of them share; then, from the project's folder:")
    print(f"  ray up --disable-usage-stats {output}")
    print("to take it down (`ray down` stops the head's processes only):")
    print(f"  ray down {output}")
    print(f"  for host in {' '.join(flags.worker_ips)}; do {stop}; done")


def local_cluster(argv: Sequence[str]) -> int:
    """Parse the flags, derive the file, write it, print the next steps; return the exit code."""
    flags = parse_plain(LocalClusterFlags, argv)
    _require_files(flags)
    try:
        config = derived(yaml.safe_load(CLUSTER_FILE.read_text()), flags)
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{CLUSTER_FILE} can't be read: {' '.join(str(error).split())}") from None
    # Escaped, because the command must stay on one line and YAML refuses some characters.
    command = f"python workflows/local_cluster.py {shlex.join(argv)}".encode("unicode_escape").decode()
    header = f"# Of {CLUSTER_FILE.name}, which explains every entry, by: {command}\n"
    try:
        text = header + yaml.safe_dump(config, sort_keys=False, width=10_000)
        Path(os.path.expanduser(flags.output)).write_text(text)
    except OSError as error:
        raise UsageError(f"--output {flags.output!r} can't be written: {error.strerror}") from None
    _say_next_steps(flags)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `local_cluster`; print a mistake as one line."""
    return run_main(local_cluster, "local_cluster.py", argv)


if __name__ == "__main__":
    sys.exit(main())
