"""The cluster file for machines of your own: `python workflows/local_cluster.py --head-ip … --worker-ips … --ssh-user …`.
cluster.yaml --> node types dropped, provider and auth replaced, everything else kept --> cluster.local.yaml, for `ray up`"""

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

from workflows.cli.flags import UsageError, parse_plain, require, run_main

CLUSTER_FILE = Path(__file__).parent.parent / "cluster.yaml"
OF_THE_CLOUD = ("available_node_types", "head_node_type", "upscaling_speed", "idle_timeout_minutes")
OLD_AUTOSCALER = "export RAY_enable_autoscaler_v2=0; "
"""Ray 2.60's new autoscaler counts the head among the workers of the provider `local`, and leaves one machine out."""
HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")


@dataclass(frozen=True)
class LocalClusterFlags:
    """Write a file with which `ray up` makes a cluster of machines that you can log in to with SSH; nothing is started."""

    head_ip: str
    """Address or host name of the machine that gets the head, as the others know it."""
    worker_ips: tuple[str, ...]
    """Addresses or host names of the others."""
    ssh_user: str
    """Who to log in as; the same on all of them."""
    ssh_private_key: str = ""
    """File of the key to log in with (default: what `ssh` itself would take); the head is given a copy of it, to log in to the others."""
    output: str = "cluster.local.yaml"
    """The file to write; an old one is replaced."""

    def __post_init__(self) -> None:
        for flag, hosts in (("--head-ip", [self.head_ip]), ("--worker-ips", self.worker_ips)):
            require(len(hosts) > 0, flag, "", "must name a machine")
            for host in hosts:
                require(_is_host(host), flag, host, "must be IPv4 addresses or host names")
        different = {host.lower() for host in (self.head_ip, *self.worker_ips)}
        require(
            len(different) == 1 + len(self.worker_ips),
            "--worker-ips",
            self.worker_ips,
            "must differ from each other and from --head-ip",
        )
        require(
            bool(re.fullmatch(r"[A-Za-z_][\w.-]*\$?", self.ssh_user, re.ASCII)),
            "--ssh-user",
            self.ssh_user,
            "must be a user's name",
        )


def _is_host(text: str) -> bool:
    try:
        ipaddress.IPv4Address(
            text
        )  # Ray's provider `local` looks hosts up with gethostbyname, which knows no IPv6
    except ValueError:
        return bool(HOST_NAME.fullmatch(text)) and not text.replace(".", "").isdigit()
    return True


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))


def derived(cluster: dict[str, Any], flags: LocalClusterFlags) -> dict[str, Any]:
    """Return the configuration for Ray's provider `local` that is otherwise as `cluster`."""
    kept = {name: value for name, value in cluster.items() if name not in OF_THE_CLOUD}
    start = [
        OLD_AUTOSCALER + command if "ray start" in command else command
        for command in cluster["head_start_ray_commands"]
    ]
    return kept | {
        "provider": {"type": "local", "head_ip": flags.head_ip, "worker_ips": list(flags.worker_ips)},
        "auth": {"ssh_user": flags.ssh_user}
        | ({"ssh_private_key": _absolute(flags.ssh_private_key)} if flags.ssh_private_key else {}),
        "max_workers": len(flags.worker_ips),
        "head_start_ray_commands": start,
    }


def local_cluster(argv: Sequence[str]) -> int:
    """Parse the flags, derive, write, say what to do next; return the exit code."""
    flags = parse_plain(LocalClusterFlags, argv)
    key, output = os.path.expanduser(flags.ssh_private_key), os.path.expanduser(flags.output)
    require(not key or os.path.isfile(key), "--ssh-private-key", flags.ssh_private_key, "must be a file")
    require(
        not key.endswith(".pub"),
        "--ssh-private-key",
        flags.ssh_private_key,
        "must be the private key, whose name has no .pub",
    )
    for taken in filter(None, (str(CLUSTER_FILE), key)):
        require(
            os.path.realpath(output) != os.path.realpath(taken),
            "--output",
            flags.output,
            "must be neither cluster.yaml nor the key",
        )
    import yaml

    try:
        config = derived(yaml.safe_load(CLUSTER_FILE.read_text()), flags)
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{CLUSTER_FILE} can't be read: {' '.join(str(error).split())}") from None
    command = shlex.join(argv).encode("unicode_escape").decode()  # a comment is one line of what YAML takes
    header = (
        f"# Of {CLUSTER_FILE.name}, whose comments say why, by: python workflows/local_cluster.py {command}\n"
    )
    try:
        Path(output).write_text(header + yaml.safe_dump(config, sort_keys=False, width=10_000))
    except OSError as error:
        raise UsageError(f"--output {flags.output!r} can't be written: {error.strerror}") from None
    workers = f"{len(flags.worker_ips)} worker{'s' * (len(flags.worker_ips) > 1)}"
    print(f"{flags.output}: the head {flags.head_ip}, and {workers}")
    print("~/ray_results must be a folder that all of them share; then, from the project's folder:")
    print(f"  ray up --disable-usage-stats {shlex.quote(flags.output)}")
    print("to take it down (`ray down` stops the head's processes only):")
    print(f"  ray down {shlex.quote(flags.output)}")
    login = f"ssh -t{f' -i {shlex.quote(_absolute(flags.ssh_private_key))}' if flags.ssh_private_key else ''} {flags.ssh_user}@$host"
    print(f"  for host in {' '.join(flags.worker_ips)}; do {login} \"bash -lic 'ray stop'\"; done")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run `local_cluster` with one-line errors."""
    return run_main(local_cluster, "local_cluster.py", argv)


if __name__ == "__main__":
    sys.exit(main())
