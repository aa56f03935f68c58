"""cluster.yaml, brought up for real: on three hosts made of namespaces, with Ray's own launcher, from a
laptop that is a fourth.

`make test-cluster` runs it and says how long each stage took; it needs root on Debian or Ubuntu, and says so
where it skips."""

import csv
import io
import json
import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hosts
import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

PROJECT = Path(__file__).parent.parent.parent
CLUSTER = "cluster.local.yaml"
CPUS = 2  # that each host has, whatever this machine has
UP_S, JOINED_S, RUN_S, GONE_S = 180, 180, 300, 120
LOGIN = "export RAY_AUTH_MODE=token PATH=~/venv/bin:$PATH; "

log = logging.getLogger("cluster")


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Log how long it took."""
    started = time.monotonic()
    yield
    log.info("%-60s %5.1f s", what, time.monotonic() - started)


def wait(condition: Callable[[], bool], deadline_s: float, what: str) -> None:
    """Wait until the condition holds. Raises AssertionError if it does not in time."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {deadline_s:g} s"
        time.sleep(0.5)


def mounts_and_links() -> tuple[str, str]:
    links = subprocess.run(["ip", "-oneline", "link"], capture_output=True, text=True, check=True).stdout
    return Path("/proc/self/mounts").read_text(), links


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hosts.Network]:
    """A laptop, with the project and a token; three hosts that share the folder of runs; each with an
    environment at ~/venv.
    """
    if reason := hosts.missing():
        pytest.skip(reason)
    before = mounts_and_links()
    shared = tmp_path_factory.mktemp("shared")
    seen = [sys.prefix, sys.base_prefix, str(PROJECT), f"{shared}:{hosts.HOME}/ray_results"]
    with hosts.Network(["head", "worker-1", "worker-2"], seen) as network:
        for host in (network.laptop, *network.hosts):
            host.run(f"ln -s {sys.prefix} ~/venv")
        for host in network.hosts:
            host.run(f"""echo 'export RAY_OVERRIDE_RESOURCES='"'"'{{"CPU": {CPUS}}}'"'" >> ~/.bashrc""")
        network.laptop.run(
            "~/venv/bin/ray get-auth-token --generate > /dev/null && chmod 600 ~/.ray/auth_token"
        )
        yield network
    assert mounts_and_links() == before


@pytest.fixture(scope="module")
def head(network: hosts.Network) -> hosts.Host:
    return network.hosts[0]


def at_laptop(network: hosts.Network, command: str, timeout: float) -> str:
    """Run a command in the project's folder, as its owner would."""
    return network.laptop.run(LOGIN + command, timeout=timeout, folder=str(PROJECT))


def start_at_laptop(network: hosts.Network, command: str) -> "subprocess.Popen[str]":
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return network.laptop.start(LOGIN + command, folder=str(PROJECT), **pipes)


@pytest.fixture(scope="module")
def said(network: hosts.Network) -> str:
    """What `local_cluster.py` says of these hosts, once it has written its file."""
    workers = " ".join(host.address for host in network.hosts[1:])
    flags = f"--head-ip {network.hosts[0].address} --worker-ips {workers} --ssh-user root --ssh-private-key ~/.ssh/id_ed25519"
    return at_laptop(network, f"python workflows/local_cluster.py {flags} --output ~/{CLUSTER}", 30)


@pytest.fixture(scope="module")
def cluster(network: hosts.Network, head: hosts.Host, said: str) -> Iterator[str]:
    """The cluster's file; the cluster is up, with all its hosts, and taken down at the end by what the script
    said.
    """
    with stage("ray up: files, environment, head"):
        at_laptop(network, f"RAY_USAGE_STATS_ENABLED=0 ray up --yes ~/{CLUSTER}", UP_S)
    python = 'import ray; ray.init(log_to_driver=False, logging_level="ERROR"); print(ray.cluster_resources()["CPU"])'
    all_cpus = f"{CPUS * len(network.hosts):.1f}"
    with stage("workers joined"):
        joined = f"{LOGIN} python -c '{python}'"
        wait(
            lambda: head.run(joined, timeout=60).split()[-1] == all_cpus, JOINED_S, "all hosts in the cluster"
        )
    yield f"~/{CLUSTER}"
    down = (
        said.partition("only):\n")[2]
        .replace("ray down", "ray down --yes")
        .replace("ssh ", "ssh -o StrictHostKeyChecking=no ")
    )
    for host in network.lost:
        down = down.replace(f" {host.address}", "")
    with stage("ray down, ray stop on the workers"):
        at_laptop(network, down.replace("\n", ";"), GONE_S)
        wait(
            lambda: not any(processes_of_ray(host) for host in network.hosts),
            GONE_S,
            "no process of Ray on any host",
        )


def processes_of_ray(host: hosts.Host) -> list[str]:
    words = ("raylet", "gcs_server", "ray::", "ray/dashboard", "log_monitor", "monitor.py")
    return [line for line in host.processes("ray") if any(word in line for word in words)]


def answers(host: hosts.Host, address: str, port: int) -> bool:
    """Return whether, of this host, somebody answers there."""
    return (
        host.run(f"(timeout 5 bash -c '< /dev/tcp/{address}/{port}') 2> /dev/null && echo yes || echo no")
        == "yes\n"
    )


def on_cluster(network: hosts.Network, cluster: str, command: str, timeout: float = RUN_S) -> str:
    """Run a command in the project's copy on the head, with `ray exec`."""
    return at_laptop(network, f"ray exec {cluster} 'cd ~/ray-training-workflows && {command}'", timeout)


def trials(head: hosts.Host, name: str) -> list[dict[str, str]]:
    """Return the rows of a run's trials.csv."""
    return list(csv.DictReader(io.StringIO(head.run(f"cat ~/ray_results/{name}/trials.csv"))))


def test_the_token_is_on_every_host_and_for_its_owner_alone(network: hosts.Network, cluster: str) -> None:
    token = network.laptop.run("cat ~/.ray/auth_token").strip()
    assert re.fullmatch("[0-9a-f]{64}", token)
    for host in network.hosts:
        assert host.run("stat -c %a ~/.ray/auth_token; cat ~/.ray/auth_token").split() == ["600", token]
        assert token not in host.run("cat ~/ray_bootstrap_config.yaml ~/.bashrc 2> /dev/null; ps -eo args")
    assert token not in network.laptop.run(f"cat {cluster}")


@pytest.mark.parametrize(
    "credentials", ["RAY_AUTH_MODE=disabled", "RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef"]
)
def test_without_the_token_nobody_gets_in(cluster: str, head: hosts.Host, credentials: str) -> None:
    command = "~/venv/bin/python -c 'import ray; ray.init(address=\"auto\", log_to_driver=False)'"
    refused = head.run(f"({credentials} {command}) 2>&1 && exit 1 || true", timeout=60)
    assert "InvalidAuthToken" in refused


def test_the_dashboard_answers_on_the_heads_own_address_to_nobody(
    network: hosts.Network, cluster: str, head: hosts.Host
) -> None:
    assert not answers(network.laptop, head.address, 8265)
    assert not answers(head, head.address, 8265)
    assert answers(head, "127.0.0.1", 8265)


def test_train_dqn_has_env_runners_on_every_host(
    network: hosts.Network, cluster: str, head: hosts.Host
) -> None:
    seen: set[str] = set()
    workflow = (
        "cd ~/ray-training-workflows && python workflows/train_dqn.py --smoke --num-env-runners 4 --name dqn"
    )
    with stage("train_dqn.py --smoke --num-env-runners 4"):
        process = start_at_laptop(network, f"ray exec {cluster} '{workflow}'")
        end = time.monotonic() + RUN_S
        while process.poll() is None:
            seen |= {host.name for host in network.hosts if host.processes("ray::VectorEnvRunner")}
            assert time.monotonic() < end, "train_dqn.py did not end"
            time.sleep(0.2)
        said, _ = process.communicate()
    assert process.returncode == 0, said
    assert "6 CPUs" in said
    assert "report    /root/ray_results/dqn/report.html" in said
    assert seen == {host.name for host in network.hosts}
    record = json.loads(head.run("cat ~/ray_results/dqn/run.json"))
    assert record["hardware"]["nodes"] == 3


def test_tune_gan_has_trials_on_other_hosts(network: hosts.Network, cluster: str, head: hosts.Host) -> None:
    """Submitted as a job, through the tunnel to the dashboard."""
    tunnel = start_at_laptop(network, f"exec ray dashboard {cluster}")
    try:
        wait(lambda: answers(network.laptop, "127.0.0.1", 8265), 60, "a tunnel to the dashboard")
        workflow = f"cd ~/ray-training-workflows && python workflows/tune_gan.py --smoke --cpus-per-trial {CPUS} --name gan"
        with stage(f"ray job submit: tune_gan.py --smoke --cpus-per-trial {CPUS}"):
            said = at_laptop(
                network, f"ray job submit --address http://localhost:8265 -- bash -lic '{workflow}'", RUN_S
            )
    finally:
        hosts.end(tunnel)
    assert "succeeded" in said
    found = trials(head, "gan")
    assert [trial["status"] for trial in found] == ["TERMINATED"] * 3
    assert {trial["hostname"] for trial in found} & {"worker-1", "worker-2"}


def test_a_folder_that_is_not_shared_is_refused_in_one_line(
    network: hosts.Network, cluster: str, head: hosts.Host
) -> None:
    said = on_cluster(
        network, cluster, "python workflows/train_dqn.py --smoke --storage-path ~/mine/runs; echo code $?"
    )
    refusal = re.search(r"train_dqn.py: (--storage-path .*)", said)
    assert refusal
    assert (
        refusal[1]
        .strip()
        .startswith(
            "--storage-path '/root/mine/runs' must be a folder that every machine of the cluster shares; 198.18."
        )
    )
    assert "code 2" in said
    assert head.run("ls ~/mine 2>&1 || true").startswith("ls: cannot access")


def test_a_training_goes_on_when_a_machine_loses_its_power(
    network: hosts.Network, cluster: str, head: hosts.Host
) -> None:
    """It ends by its clock, well after Ray has noticed, which takes most of a minute."""
    workflow = "python workflows/train_dqn.py --num-env-runners 4 --stop-return inf --stop-env-steps 100000000 --stop-time-s 90 --name lost"
    reports = "cat ~/ray_results/lost/*/result.json 2> /dev/null | wc -l"
    with stage("train_dqn.py, of whose machines one is lost"):
        process = start_at_laptop(network, f"ray exec {cluster} 'cd ~/ray-training-workflows && {workflow}'")
        wait(lambda: int(head.run(reports)) > 0 or process.poll() is not None, RUN_S, "a report")
        victim = next(host for host in network.hosts[1:] if not host.processes("ray::Trial"))
        assert victim.processes("ray::VectorEnvRunner")
        network.lose(victim)
        said, _ = process.communicate(timeout=RUN_S)
    assert process.returncode == 0, said
    assert re.search(r"faults .*[12] of 4 env runners missing at the end", said)
    [trial] = trials(head, "lost")
    assert trial["status"] == "TERMINATED"
    assert 0 < float(trial["fault_tolerance/num_healthy_workers"]) < 4
