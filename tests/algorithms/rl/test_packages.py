"""The two RL packages: names are imported when they are first used, so that `--help` stays instant."""

import subprocess
import sys
from importlib import import_module

import pytest

NAMES = {
    "algorithms.dqn": {"DQN", "DQNConfig", "DQNOptions"},
    "algorithms.reinforce": {"REINFORCE", "REINFORCEConfig", "REINFORCEOptions"},
}


@pytest.mark.parametrize("package", NAMES)
def test_a_package_and_its_options_bring_in_neither_ray_nor_torch(package: str) -> None:
    options = next(name for name in NAMES[package] if name.endswith("Options"))
    script = f"import sys, {package}; from {package} import {options}; print({{'ray', 'torch'}} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("package", NAMES)
def test_a_package_has_its_names_and_no_other(package: str) -> None:
    module = import_module(package)
    assert set(dir(module)) == set(module.__all__) == NAMES[package]
    assert {getattr(module, name).__name__ for name in NAMES[package]} == NAMES[package]
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'PPO'"):
        _ = module.PPO
