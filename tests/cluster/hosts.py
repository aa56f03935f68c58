"""Hosts on one machine, made of Linux namespaces: each has its own address, process list, /tmp, /run,
/dev/shm, HOME and SSH server.

    laptop, head, worker-1, …  ──  one bridge, in a network namespace of its own, which leads nowhere else

All that a host does lives in its namespaces, whose first process ends when the pipe to this process closes:
by `stop`, by an exception, or because this process was killed. The kernel then kills what runs there, and
takes mounts and addresses away: nothing can be left. Needs root, and what `missing` names.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SUBNET = "198.18.77."  # of the block for tests of networks (RFC 2544): nobody's address
GATEWAY = SUBNET + "1"
HOME = "/root"
OWN_FOLDERS = (HOME, "/tmp", "/run")
NEEDED = ("unshare", "nsenter", "ip", "mount", "ssh", "ssh-keygen", "rsync", "/usr/sbin/sshd")
DEADLINE_S = 20

FIRST_PROCESS = f"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt{HOME} /mnt/tmp /mnt/run/sshd
chmod 700 /mnt{HOME}; chmod 1777 /mnt/tmp
cp -rT /etc/skel /mnt{HOME}
for seen; do  # READ_ONLY_PATH, or WRITABLE_PATH:WHERE
    where=${{seen#*:}} path=${{seen%%:*}}
    mkdir -p "/mnt$where"
    mount --bind "$path" "/mnt$where"
    [ "$seen" != "$path" ] || mount -o remount,bind,ro "/mnt$where"
done
sed 's/^root:[^:]*:/root:*:/' /etc/shadow > /mnt/shadow; chmod 600 /mnt/shadow; mount --bind /mnt/shadow /etc/shadow
for folder in {" ".join(OWN_FOLDERS)}; do mount --rbind "/mnt$folder" "$folder"; done
umount --lazy /mnt
mount -t tmpfs tmpfs /dev/shm
hostname "$NAME"
ip link set lo up
echo ready
while read -r _; do :; done  # until the pipe closes; bash takes care of orphans meanwhile
"""

SSHD_OPTIONS = (
    "HostKey=/run/sshd/key", "PidFile=/run/sshd/pid", "AuthorizedKeysFile=/root/.ssh/authorized_keys", "StrictModes=no", "UsePAM=no",
    "PasswordAuthentication=no", "PermitRootLogin=prohibit-password", "UseDNS=no", "MaxStartups=100",
)  # fmt: skip


def missing() -> str:
    """Return why there can be no hosts here, or ""."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are made of Linux namespaces: needs root on Linux"
    absent = [name for name in NEEDED if not shutil.which(name)]
    if absent:
        return f"hosts need {', '.join(absent)}: apt-get install openssh-server rsync iproute2"
    tried = subprocess.run(
        [
            "unshare",
            "--net",
            "--pid",
            "--mount",
            "--uts",
            "--ipc",
            "--fork",
            "--mount-proc",
            "ip",
            "link",
            "add",
            "type",
            "veth",
        ],
        capture_output=True,
        text=True,
    )
    return f"namespaces can't be made here: {' '.join(tried.stderr.split())}" if tried.returncode else ""


def end(process: subprocess.Popen[str]) -> str:
    """Kill a process of `Host.start` and what it started, and return what it had said."""
    os.killpg(process.pid, signal.SIGKILL)
    said, _ = process.communicate()
    return said


class Namespaces:
    """Namespaces that live as long as this object."""

    def __init__(self, name: str, script: str, *arguments: str) -> None:
        kinds = ["--net", "--pid", "--mount", "--uts", "--ipc"]
        self._holder = subprocess.Popen(
            [
                "unshare",
                *kinds,
                "--fork",
                "--kill-child",
                "--mount-proc",
                "bash",
                "-c",
                script,
                name,
                *arguments,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PATH": os.environ["PATH"], "NAME": name},
            text=True,
        )
        assert self._holder.stdout
        if self._holder.stdout.readline() != "ready\n":
            self.stop()
            raise RuntimeError(f"the namespaces of {name} could not be made")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        self.first_process = int(children[0])

    def entered(self, *kinds: str) -> list[str]:
        """Return the words before a command that have it run in here; `kinds` are nsenter's."""
        return ["nsenter", f"--target={self.first_process}", *(f"--{kind}" for kind in kinds)]

    def stop(self) -> None:
        """End everything in here."""
        assert self._holder.stdin
        assert self._holder.stdout
        self._holder.stdin.close()
        try:
            self._holder.wait(DEADLINE_S)
        finally:
            self._holder.kill()
            self._holder.wait()
            self._holder.stdout.close()


class Host(Namespaces):
    """A machine with an address of its own."""

    def __init__(self, name: str, address: str, bridge: Namespaces, seen: list[str]) -> None:
        super().__init__(name, FIRST_PROCESS, *seen)
        self.name, self.address = name, address
        port = "port" + address.rpartition(".")[2]
        pair = f"ip link add {port} master bridge type veth peer name eth0 netns {self.first_process} && ip link set {port} up"
        subprocess.run([*bridge.entered("net"), "sh", "-c", pair], check=True)
        up = f"ip address add {address}/24 dev eth0 && ip link set eth0 up && ip route add default via {GATEWAY}"
        subprocess.run([*self.entered("net"), "sh", "-c", up], check=True)

    def start(self, command: str, *, folder: str = HOME, **kwargs: Any) -> subprocess.Popen[str]:
        """Start a shell command in here, as a login would."""
        everything = self.entered("net", "pid", "mount", "uts", "ipc")
        environment = {
            "HOME": HOME,
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "TERM": "dumb",
            "LANG": "C.UTF-8",
        }
        words = [*everything, "bash", "-c", f"cd {folder} && {command}"]
        return subprocess.Popen(words, cwd="/", env=environment, text=True, start_new_session=True, **kwargs)

    def run(self, command: str, *, timeout: float = DEADLINE_S, folder: str = HOME) -> str:
        """Run a shell command in here and return its output, errors too. Raises AssertionError with it unless
        it ends well in time.
        """
        process = self.start(
            command, folder=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            said = end(process)
            raise AssertionError(
                f"{self.name}: {command!r} took longer than {timeout:g} s:\n{said}"
            ) from None
        assert process.returncode == 0, f"{self.name}: {command!r} ended with {process.returncode}:\n{said}"
        return said

    def processes(self, word: str) -> list[str]:
        """Return the command lines of this host's processes that have the word in them."""
        lines = self.run("ps -eo args --no-headers").splitlines()
        return [line for line in lines if word in line]

    def serve_ssh(self, public_key: str) -> None:
        """Start the SSH server, for the holder of this key."""
        options = " ".join(f"-o {option}" for option in (*SSHD_OPTIONS, f"ListenAddress={self.address}"))
        self.run(
            f"mkdir -pm700 .ssh && echo '{public_key}' > .ssh/authorized_keys && ssh-keygen -qt ed25519 -N '' -f /run/sshd/key"
        )
        self.run(f"/usr/sbin/sshd -f /dev/null -E /run/sshd/log {options}")


class Network:
    """A laptop and hosts on a network of their own; a context manager."""

    def __init__(self, hosts: list[str], seen: list[str]) -> None:
        """`seen` are folders that every host sees: a path (read-only, where it is), or PATH:WHERE (writable,
        at another place).
        """
        self._made: list[Namespaces] = []
        self.lost: list[Host] = []
        try:
            switch = f"ip link add bridge type bridge && ip addr add {GATEWAY}/24 dev bridge && ip link set bridge up && echo ready && read -r _"
            bridge = self._keep(Namespaces("bridge", switch))
            hidden = [
                path
                for path in seen
                if ":" in path or path.startswith(tuple(folder + "/" for folder in OWN_FOLDERS))
            ]
            self.laptop = self._keep(Host("laptop", SUBNET + "2", bridge, hidden))
            self.hosts = [
                self._keep(Host(name, f"{SUBNET}{10 + i}", bridge, hidden)) for i, name in enumerate(hosts)
            ]
            self.laptop.run("mkdir -pm700 .ssh && ssh-keygen -qt ed25519 -N '' -f .ssh/id_ed25519")
            key = self.laptop.run("cat .ssh/id_ed25519.pub").strip()
            for host in self.hosts:
                host.serve_ssh(key)
        except BaseException:
            self.stop()
            raise

    def _keep(self, made: Any) -> Any:
        self._made.append(made)
        return made

    def lose(self, host: Host) -> None:
        """End a host at once, as when its power is cut."""
        self.hosts.remove(host)
        self.lost.append(host)
        self._made.remove(host)
        host.stop()

    def stop(self) -> None:
        """End all hosts and what they do."""
        while self._made:
            self._made.pop().stop()

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
