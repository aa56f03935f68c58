"""One Ray cluster for the whole session, on ports of its own and with its own folder; nothing of it is left
behind."""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from algorithms import mnist

settings.register_profile("no deadline", deadline=None)  # a busy machine is no failure
settings.load_profile("no deadline")

# Ray reads these when it is imported; the cluster's token is known to this process and to those that it
# starts, and to nobody else.
os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
os.environ["RAY_AUTH_MODE"] = "token"
os.environ["RAY_AUTH_TOKEN"] = os.urandom(16).hex()


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts Ray, and sort: what needs no Ray first, for a quick answer, and what is slow last."""
    for item in items:
        workflows = hasattr(getattr(item, "module", None), "start_workflow")
        if workflows or "ray_address" in getattr(item, "fixturenames", ()):
            item.add_marker("ray")
    items.sort(key=lambda item: tuple(item.get_closest_marker(name) is not None for name in ("slow", "ray")))


@pytest.fixture(scope="session")
def digits() -> mnist.MNIST:
    """The bundled 10,000 real digits."""
    return mnist.load("mnist-10k")


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """The address of a Ray cluster of two CPUs on this machine; this process is connected to it."""
    import ray

    folder = Path(tempfile.mkdtemp(prefix="ray-"))  # a short path: Ray puts sockets below it
    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        ray.init(address="local", num_cpus=2, num_gpus=0, _temp_dir=str(folder), **quiet)
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", autouse=True)
def sent_by_value(request: pytest.FixtureRequest) -> None:
    """Have Ray send what a test module that uses it defines: its processes can't import the tests."""
    if any(
        item.path == request.path and "ray_address" in getattr(item, "fixturenames", ())
        for item in request.session.items
    ):
        import faulty_envs
        from ray import cloudpickle

        for module in (request.module, faulty_envs):
            cloudpickle.register_pickle_by_value(module)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread: sums are then added up in one order."""
    import torch

    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def built(ray_address: str) -> Iterator[Callable[[Any], Any]]:
    """Build RLlib algorithms of their configurations; they are stopped at the end."""
    import torch

    algorithms: list[Any] = []
    num_threads = torch.get_num_threads()
    torch.set_num_threads(
        1
    )  # networks this small gain nothing from more, and lose much where the cores are busy

    def build(config: Any) -> Any:
        algorithms.append(config.build_algo())
        return algorithms[-1]

    yield build
    for algorithm in algorithms:
        algorithm.stop()
        shutil.rmtree(algorithm.logdir, ignore_errors=True)
    torch.set_num_threads(num_threads)
