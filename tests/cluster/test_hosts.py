"""Hosts made of namespaces: each is a machine of its own, and none outlives the process that made it."""

import subprocess
import sys
import time
from pathlib import Path

import hosts
import pytest

pytestmark = pytest.mark.cluster

MAKER = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
import hosts
network = hosts.Network(["head", "worker"], [])
print(*[made.first_process for made in network._made], flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    if reason := hosts.missing():
        pytest.skip(reason)


def test_each_has_its_own_address_processes_and_files_and_no_way_out(tmp_path: Path) -> None:
    with hosts.Network(["head", "worker"], [f"{tmp_path}:{hosts.HOME}/shared"]) as network:
        head, worker = network.hosts
        network.laptop.run(
            f"ssh -o StrictHostKeyChecking=no {head.address} 'hostname > /tmp/here; hostname > ~/shared/there'"
        )
        assert head.run("cat /tmp/here") == "head\n"
        assert worker.run("ls /tmp") == ""
        assert worker.run("cat ~/shared/there") == "head\n"
        head.run("setsid --fork sleep 55 > /dev/null 2>&1")
        assert head.processes("sleep 55")
        assert not worker.processes("sleep 55")
        assert worker.run("ip -oneline link | wc -l") == "2\n", "its loopback, and the bridge's"
        assert (
            worker.run("timeout 2 bash -c '< /dev/tcp/192.0.2.1/80' 2> /dev/null && echo out || echo in")
            == "in\n"
        )


def test_a_command_that_fails_or_takes_too_long_says_what_it_said() -> None:
    with hosts.Network(["head"], []) as network:
        with pytest.raises(AssertionError, match=r"(?s)'echo here && false' ended with 1:\nhere"):
            network.hosts[0].run("echo here && false")
        with pytest.raises(AssertionError, match=r"(?s)took longer than 0.5 s:\nhere"):
            network.hosts[0].run("echo here && (sleep 50 & sleep 50)", timeout=0.5)


def test_nothing_outlives_a_process_that_was_killed() -> None:
    maker = subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, text=True)
    assert maker.stdout
    first = [Path(f"/proc/{number}") for number in maker.stdout.readline().split()]
    assert len(first) == 4
    assert all(process.exists() for process in first)
    maker.kill()
    maker.communicate()
    end = time.monotonic() + hosts.DEADLINE_S
    while any(process.exists() for process in first):
        assert time.monotonic() < end, "a host outlived its maker"
        time.sleep(0.05)
