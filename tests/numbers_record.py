"""A few updates of every algorithm, as numbers: metrics, and digests of all weights. fp32, one thread, one
seed.

A change that is to change no number is held against the record of the code before it; see
test_same_numbers.py.
"""

from __future__ import annotations

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

RECORD = Path(__file__).parent / "same_numbers.json"
GAN = {"precision": "fp32", "batch_size": 32, "width": 16}
CVAE = {"precision": "fp32", "num_nll_samples": 5, "num_nll_digits": 20}
CVAES: dict[str, dict[str, Any]] = {
    "reference setting": {},
    "conv, flow, averaged": {
        "architecture": "conv", "width": 32, "prior": "flow", "binarisation": "dynamic", "ema_decay": 0.9, "latent_size": 4,
    },
    "learned, importance-weighted": {"prior": "learned", "num_importance_samples": 3, "width": 50, "latent_size": 2},
    "warm-up": {"beta": 0.5, "beta_warmup_updates": 10, "width": 50},
}  # fmt: skip
DQN: dict[str, Any] = {
    "num_steps_sampled_before_learning_starts": 100, "train_batch_size_per_learner": 32, "training_intensity": 4.0, "lr": ((0, 1e-2), (500, 1e-3)),
    "num_envs_per_env_runner": 4, "target_network_update_freq": 16, "tau": 0.5, "epsilon": ((0, 1.0), (400, 0.1)), "fcnet_hiddens": (16,),
}  # fmt: skip
REINFORCE: dict[str, Any] = {
    "num_episodes_per_train_batch": 6,
    "num_envs_per_env_runner": 4,
    "fcnet_hiddens": (16,),
    "num_vf_updates": 3,
}
OF_TIME = ("_s", "_idle_share")
"""Endings of the metrics that tell the time."""


def processor() -> str:
    """Return what the last bit depends on: the processor's kind and the versions of what computes."""
    kind = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        name, _, value = line.partition(":")
        kind.setdefault(name.strip(), value.strip())
    names = [kind.get(name, "") for name in ("vendor_id", "cpu family", "model")]
    versions = [f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "gymnasium", "ray")]
    return ", ".join([platform.machine(), *names, *versions])


def digest(state: Any) -> str:
    """Return a digest of all arrays of a nested state, in order."""
    sha = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, dict):
            for key in value:
                sha.update(str(key).encode())
                add(value[key])
        elif isinstance(value, list | tuple):
            for one in value:
                add(one)
        elif isinstance(value, torch.Tensor | np.ndarray):
            sha.update(np.ascontiguousarray(torch.as_tensor(value).cpu().numpy()).tobytes())
        else:
            sha.update(repr(value).encode())

    add(state)
    return sha.hexdigest()[:16]


def of_trainer(trainer: Any) -> dict[str, Any]:
    """Return the metrics of ten updates of a generative model, its scores before and after, and a digest of
    its state.
    """
    first, second = trainer.train(6), trainer.train(4)
    scores = trainer.evaluate(200)
    state = trainer.state_dict()
    parts = {name: part for name, part in state.items() if name not in ("options", "updates")}
    return {
        "metrics": [first, second],
        "scores": scores,
        "state": {name: digest(part) for name, part in sorted(parts.items())},
        "pictures": {name: digest(picture) for name, picture in trainer.pictures().items()},
    }


def of_algorithm(algorithm: Any, iterations: int) -> dict[str, Any]:
    """Return the metrics of some iterations of an RLlib algorithm, without those that tell the time, and a
    digest of its policy.
    """
    reports = []
    for _ in range(iterations):
        result = algorithm.train()
        kept = {
            name: result[name]
            for name in ("num_env_steps_sampled_lifetime", "weights_lag", "epsilon", "trained_per_sampled")
            if name in result
        }
        for group in ("env_runners", "evaluation/env_runners", "learners/default_policy"):
            found: Any = result
            for part in group.split("/"):
                found = found.get(part, {})
            kept |= {
                f"{group}/{name}": value for name, value in found.items() if isinstance(value, int | float)
            }
        reports.append(
            {
                name: float(value)
                for name, value in sorted(kept.items())
                if not name.endswith(OF_TIME) and "timesteps" not in name
            }
        )
    return {"reports": reports, "policy": digest(algorithm.get_module().state_dict())}


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """Return a nested record as path -> value."""
    parts = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    if not isinstance(values, dict | list):
        return {prefix: values}
    return {path: one for name, part in parts for path, one in flat(part, f"{prefix}/{name}").items()}


def of_generative(digits: Any) -> dict[str, Any]:
    """Return the record of both generative models."""
    from algorithms.cvae.options import CVAEOptions as cvae_options
    from algorithms.cvae.trainer import CVAETrainer as cvae_trainer
    from algorithms.gan.options import GANOptions as gan_options
    from algorithms.gan.trainer import GANTrainer as gan_trainer

    record = {
        "gan, reference setting": of_trainer(
            gan_trainer(gan_options(precision="fp32", batch_size=16), digits, seed=0)
        ),
        "gan, smoothed and averaged": of_trainer(
            gan_trainer(gan_options(**GAN, label_smoothing=0.1, ema_decay=0.9), digits, seed=1)
        ),
    }
    for name, options in CVAES.items():
        record[f"cvae, {name}"] = of_trainer(cvae_trainer(cvae_options(**CVAE, **options), digits, seed=0))
    return record


def of_rl(built: Any) -> dict[str, Any]:
    """Return the record of both RL algorithms, without remote env runners and with one."""
    from algorithms.dqn.dqn import DQNConfig as dqn_config
    from algorithms.reinforce.reinforce import REINFORCEConfig as reinforce_config

    def common(config: Any, num_env_runners: int) -> Any:
        return (
            config.environment("CartPole-v1")
            .env_runners(num_env_runners=num_env_runners)
            .evaluation(evaluation_interval=2, evaluation_duration=5)
            .reporting(min_sample_timesteps_per_iteration=300)
            .debugging(seed=0)
        )

    record = {}
    for runners in (0, 1):
        where = "local" if not runners else "one remote runner"
        synchronous = {"synchronous": True} if runners else {}
        record[f"dqn, {where}"] = of_algorithm(
            built(common(dqn_config().training(**DQN, **synchronous), runners)), 4
        )
        reinforce = reinforce_config().training(**REINFORCE, normalize_advantages=True)
        record[f"reinforce, {where}"] = of_algorithm(built(common(reinforce, runners)), 3)
    textbook = reinforce_config().training(
        **REINFORCE, estimator="total_return", baseline="running_mean", entropy_coeff=0.01
    )
    record["reinforce, textbook"] = of_algorithm(built(common(textbook, 0)), 2)
    gaussian = reinforce_config().training(**REINFORCE, bootstrap_truncated=True, discount_from_start=True)
    record["reinforce, Gaussian"] = of_algorithm(built(common(gaussian, 0).environment("Pendulum-v1")), 2)
    return record


def main() -> None:
    """Write the record anew."""
    import ray

    from algorithms import mnist

    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False)
    algorithms: list[Any] = []

    def built(config: Any) -> Any:
        algorithms.append(config.build_algo())
        return algorithms[-1]

    record = {"processor": processor(), **of_generative(mnist.load("mnist-10k")), **of_rl(built)}
    for algorithm in algorithms:
        algorithm.stop()
    ray.shutdown()
    RECORD.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
