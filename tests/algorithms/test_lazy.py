"""Names that a package imports when they are first used."""

import importlib
import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["gan", "cvae", "dqn", "reinforce"])
def test_every_exported_name_is_that_of_its_module(package: str) -> None:
    module = importlib.import_module(f"algorithms.{package}")
    assert module.__all__ == dir(module)
    for name in module.__all__:
        found = getattr(module, name)
        assert found.__module__.startswith(f"algorithms.{package}.")
        assert found.__name__ == name


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    module = importlib.import_module("algorithms.gan")
    with pytest.raises(AttributeError, match=r"^module 'algorithms.gan' has no attribute 'Trainer'$"):
        _ = module.Trainer


def test_a_package_and_its_options_import_neither_torch_nor_ray() -> None:
    script = """
        import sys
        from algorithms.gan import GANOptions
        from algorithms.cvae import CVAEOptions
        from algorithms.dqn import DQNOptions
        from algorithms.reinforce import REINFORCEOptions
        assert not {"torch", "ray", "numpy"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", "if True:" + script], check=True, timeout=60)
