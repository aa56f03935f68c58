"""Finished runs that several tests read. A test that changes one copies it first."""

import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import pytest
from processes import DEADLINE_S, finish, start_workflow

from workflows import train_dqn, tune_cvae, tune_gan


def finished(workflow: ModuleType, storage: Path, *flags: str) -> tuple[Path, str]:
    """Run a workflow with `--smoke` to its end; return its folder and what it printed."""
    process = start_workflow(workflow, "--smoke", *flags, "--storage-path", storage, "--name", "smoke")
    code, out, err = finish(process)
    assert (code, err) == (0, ""), out
    return storage / "smoke", out


@pytest.fixture(scope="session")
def gan_search(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a search of GANs."""
    return finished(tune_gan, tmp_path_factory.mktemp("runs"), "--address", ray_address)


@pytest.fixture(scope="session")
def cvae_search(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a search of CVAEs whose latent space has two dimensions."""
    flags = ("--latent-size", "2", "--prior", "learned", "--address", ray_address)
    return finished(tune_cvae, tmp_path_factory.mktemp("runs"), *flags)


@pytest.fixture(scope="session")
def dqn_training(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder and the output of a training of a DQN with an env runner."""
    flags = ("--num-env-runners", "1", "--address", ray_address)
    return finished(train_dqn, tmp_path_factory.mktemp("runs"), *flags)


FAILING = """
    import sys
    from workflows import tune_gan

    tune_gan.SPACE = {"generator_lr": ("choice", [1e30])}
    sys.exit(tune_gan.main(sys.argv[1:]))
"""


@pytest.fixture(scope="session")
def failed_gan_search(ray_address: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, str]:
    """Folder, exit code and all output of a search of GANs whose second trial diverges."""
    storage = tmp_path_factory.mktemp("runs")
    flags = ["--smoke", "--precision", "fp32", "--num-samples", "2", "--max-updates", "20"]
    flags += ["--address", ray_address, "--storage-path", str(storage), "--name", "failed"]
    command = [sys.executable, "-c", textwrap.dedent(FAILING), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return storage / "failed", done.returncode, done.stdout + done.stderr
