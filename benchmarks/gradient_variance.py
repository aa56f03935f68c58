"""Variance of three REINFORCE estimators at a fixed policy on CartPole-v1.

The estimators are total return, reward to go, and reward to go less a value network. Each seed has a policy:
the preset's, trained until a batch of episodes averages 150, and then kept fixed. With gamma = 1 all three
estimate the same gradient (docs/theory.md), here from the same episodes. The value network is fitted
beforehand, to other episodes of the policy.

variance     trace of the covariance of one episode's estimate
episodes     variance / |gradient|^2: a batch of this size has noise as large as its gradient

Intervals hold 95% of the bootstrap's draws of episodes."""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import statistics
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN
from side_by_side import RESULTS, write

from algorithms.reinforce import losses
from algorithms.reinforce.options import PRESETS
from algorithms.reinforce.reinforce import REINFORCEConfig
from algorithms.rl.networks import ValueNetwork
from algorithms.rl.rollout_batch import RolloutBatch
from workflows.experiment.ray_cluster import connected

ENV, GAMMA = "CartPole-v1", 1.0
OPTIONS = PRESETS[ENV]
ESTIMATORS = ("total_return", "reward_to_go", "reward_to_go_less_value")
MOST_ITERATIONS = 500
NUM_VF_UPDATES, VF_MINIBATCH_SIZE, VF_LR = 2000, 1024, 3e-3
NUM_BOOTSTRAPS = 400


def trained(seed: int, stop_return: float) -> tuple[Any, dict[str, Any]]:
    """Return an algorithm whose policy is good enough, and a record of its training."""
    config = (
        REINFORCEConfig()
        .environment(ENV)
        .training(**asdict(OPTIONS))
        .env_runners(num_env_runners=0)
        .debugging(seed=seed)
    )
    config.reporting(
        min_sample_timesteps_per_iteration=1,
        metrics_num_episodes_for_smoothing=OPTIONS.num_episodes_per_train_batch,
    )
    algo = config.build_algo()
    for _ in range(MOST_ITERATIONS):
        results = algo.train()
        if results[ENV_RUNNER_RESULTS][EPISODE_RETURN_MEAN] >= stop_return:
            return algo, {"num_updates": results["learners"][DEFAULT_MODULE_ID]["num_updates_lifetime"]}
    raise SystemExit(f"seed {seed}: no mean return of {stop_return:g} within {MOST_ITERATIONS} updates")


def played(algo: Any, num_episodes: int) -> dict[str, torch.Tensor]:
    """Return new whole episodes, one after the other, in the learner's form."""
    batch: RolloutBatch
    (batch,) = algo.env_runner_group.local_env_runner.sample(num_episodes=num_episodes, explore=True)
    return {name: torch.from_numpy(array) for name, array in batch.whole_episodes().items()}


def fitted_values(episodes: dict[str, torch.Tensor], obs: torch.Tensor, seed: int) -> torch.Tensor:
    """Fit a value network of the preset's size to `episodes`; return its values of `obs` [B]."""
    returns = losses.rewards_to_go(episodes["rewards"], episodes["ends"], GAMMA)
    mean, std = returns.mean(), returns.std()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        vf = ValueNetwork(obs.shape[1], OPTIONS.fcnet_hiddens, OPTIONS.fcnet_activation)
    optimizer = torch.optim.Adam(vf.parameters(), lr=VF_LR)
    for _ in range(NUM_VF_UPDATES):
        rows = torch.randint(len(returns), (VF_MINIBATCH_SIZE,), generator=generator)
        optimizer.zero_grad()
        losses.value_loss(vf(episodes["obs"][rows]), (returns[rows] - mean) / std).backward()
        optimizer.step()
    with torch.inference_mode():
        return vf(obs) * std + mean


def gradients(
    policy: torch.nn.Module, episodes: dict[str, torch.Tensor], weights: list[torch.Tensor]
) -> np.ndarray:
    """Return each episode's gradient by each of the weights; float64 [number of weights, E, parameters]."""
    lengths = (
        (episodes["ends"].nonzero().squeeze(1) + 1).diff(prepend=torch.zeros(1, dtype=torch.int64)).tolist()
    )
    parameters, estimates = list(policy.parameters()), []
    for obs, actions, *weighed in zip(
        *(x.split(lengths) for x in (episodes["obs"], episodes["actions"], *weights)), strict=True
    ):
        log_probs, _ = policy.log_probs_and_entropies(obs, actions)
        of_weights = [
            torch.autograd.grad(losses.policy_loss(log_probs, w, 1), parameters, retain_graph=True)
            for w in weighed
        ]
        estimates.append(
            [torch.cat([-part.flatten() for part in parts]).double().numpy() for parts in of_weights]
        )
    return np.array(estimates).swapaxes(0, 1)


def variances(estimates: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the trace of the covariance [number of weights, K]; counts [K, E] weigh the episodes."""
    shares = counts / counts.sum(axis=1, keepdims=True)
    squares = np.square(estimates).sum(axis=2) @ shares.T
    return squares - np.stack([np.square(shares @ of_episodes).sum(axis=1) for of_episodes in estimates])


def measure(seed: int, flags: argparse.Namespace) -> dict[str, Any]:
    """Train a policy, fix it, and return the variances of its gradient estimators."""
    algo, how = trained(seed, flags.stop_return)
    policy = algo.get_module().pi
    to_fit, episodes = played(algo, flags.vf_episodes), played(algo, flags.episodes)
    algo.stop()
    shutil.rmtree(algo.logdir, ignore_errors=True)
    rewards, ends = episodes["rewards"], episodes["ends"]
    total, to_go = losses.total_returns(rewards, ends, GAMMA), losses.rewards_to_go(rewards, ends, GAMMA)
    values = fitted_values(to_fit, episodes["obs"], seed)
    estimates = gradients(policy, episodes, [total, to_go, to_go - values])
    num_episodes = estimates.shape[1]
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(num_episodes, np.full(num_episodes, 1 / num_episodes), size=NUM_BOOTSTRAPS)
    found = variances(estimates, np.ones((1, num_episodes)))[:, 0] * num_episodes / (num_episodes - 1)
    drawn = variances(estimates, counts) * num_episodes / (num_episodes - 1)
    means = estimates.mean(axis=1)
    squared_norm = float(np.square(means[2]).sum() - found[2] / num_episodes)  # minus the share of the noise

    def interval(draws: np.ndarray) -> list[float]:
        return np.quantile(draws, [0.025, 0.975]).tolist()

    row: dict[str, Any] = {
        "seed": seed,
        **how,
        "num_episodes": num_episodes,
        "mean_return": rewards.sum().item() / num_episodes,
    }
    row["vf_explained_var"] = 1 - ((to_go - values).var() / to_go.var()).item()
    row["squared_norm_of_gradient"] = squared_norm
    for i, name in enumerate(ESTIMATORS):
        row[name] = {
            "variance": float(found[i]),
            "variance_95": interval(drawn[i]),
            "episodes": float(found[i]) / squared_norm,
        }
        apart = estimates[i] - estimates[2]  # their means are equal; a difference is noise, or an error
        off, error = apart.mean(axis=0), apart.std(axis=0) / np.sqrt(num_episodes)
        row[name]["mean_apart_in_standard_errors"] = float(
            np.sqrt(np.square(off).sum() / max(np.square(error).sum(), 1e-300))
        )
    for i, j in ((0, 1), (1, 2), (0, 2)):
        row[f"{ESTIMATORS[i]}_per_{ESTIMATORS[j]}"] = {
            "ratio": float(found[i] / found[j]),
            "ratio_95": interval(drawn[i] / drawn[j]),
        }
    return row


def draw(rows: list[dict[str, Any]]) -> None:
    """Write benchmarks/results/gradient_variance.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    labels = ("total return", "reward to go", "reward to go\nless values")
    figure, axes = pyplot.subplots(figsize=(7.5, 3.2), layout="constrained")
    for number, row in enumerate(rows):
        height = 0.16 * (number - (len(rows) - 1) / 2)
        found = np.array([row[name]["episodes"] for name in ESTIMATORS])
        bounds = (
            np.array([row[name]["variance_95"] for name in ESTIMATORS]).T / row["squared_norm_of_gradient"]
        )
        label = f"seed {row['seed']}: mean return {row['mean_return']:.0f}"
        axes.errorbar(
            found,
            np.arange(3) + height,
            xerr=np.abs(bounds - found),
            fmt="o",
            markersize=5,
            capsize=3,
            label=label,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    axes.set_yticks(range(3), labels)
    axes.set_ylim(2.6, -0.6)
    axes.grid(axis="x", which="both", alpha=0.25)
    axes.set_xlabel(
        "variance of an episode's estimate / squared norm of the gradient:\nepisodes until a batch's noise is as large as the gradient"
    )
    axes.set_title(
        f"{ENV}: three estimators of one gradient, each at {len(rows)} fixed policies\n(intervals of the variance: 95%)",
        fontsize=10,
    )
    axes.legend(fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / "gradient_variance.png", dpi=150)
    print(f"drawn in {RESULTS / 'gradient_variance.png'}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="how many policies: seeds 0, 1, ...")
    parser.add_argument(
        "--stop-return", type=float, default=150.0, help="mean return of a batch at which training ends"
    )
    parser.add_argument(
        "--episodes", type=int, default=2000, help="episodes of each policy that are measured"
    )
    parser.add_argument(
        "--vf-episodes", type=int, default=1000, help="episodes that its value network is fitted to"
    )
    flags = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        parser.exit(2, "matplotlib is not installed: pip install -e '.[bench]' or make install installs it\n")
    torch.set_num_threads(1)
    rows = []
    with connected("local"):
        for seed in range(flags.seeds):
            rows.append(measure(seed, flags))
            row = rows[-1]
            print(
                f"seed {seed}: mean return {row['mean_return']:.0f} after {row['num_updates']} updates; "
                f"values explain {row['vf_explained_var']:.2f}",
                flush=True,
            )
            for name in ESTIMATORS:
                low, high = row[name]["variance_95"]
                noise = f"{row[name]['episodes']:8.1f} episodes"
                print(
                    f"  {name:<24} variance {row[name]['variance']:10.4g} ({low:.4g} to {high:.4g}), {noise}"
                )

    record: dict[str, Any] = {
        "unit": "trace of the covariance of one episode's gradient",
        "env": ENV,
        "gamma": GAMMA,
    }
    for name in [name for name in rows[0] if "_per_" in name]:
        ratios = [row[name]["ratio"] for row in rows]
        record[f"{name}_median"] = statistics.median(ratios)
        print(f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    for name in ESTIMATORS:
        record[f"{name}_episodes_median"] = statistics.median(row[name]["episodes"] for row in rows)
    record |= {
        "stop_return": flags.stop_return,
        "vf_episodes": flags.vf_episodes,
        "policies": rows,
        "options": asdict(OPTIONS),
    }
    write(record, "gymnasium")
    draw(rows)


if __name__ == "__main__":
    main()
