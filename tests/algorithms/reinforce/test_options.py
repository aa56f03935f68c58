"""REINFORCE's hyperparameters: what is refused, what excludes what, and what is converted."""

import dataclasses
import re
from typing import Any

import pytest

from algorithms.reinforce.options import PRESETS, REINFORCEOptions

INF, NAN = float("inf"), float("nan")

NO_STEP_SIZE: tuple[Any, ...] = (
    0.0,
    -1e-3,
    INF,
    NAN,
    ((0, 0.0), (9, 0.0)),
    [[0, 1e-3], [9, -1e-4]],
    [[0, NAN]],
    [[5, 1e-3]],
    [[0, 1e-3], [0, 1e-4]],
    [],
    None,
    "fast",
)

WRONG: dict[str, tuple[Any, ...]] = {
    "gamma": (-0.01, 1.01, NAN, None, "0.9"),
    "estimator": ("rewards_to_go", "", None),
    "baseline": ("mean", "", None),
    "num_episodes_per_train_batch": (0, -1, 16.0, None),
    "train_batch_size_per_learner": (-1, 64.0, None),
    "lr": NO_STEP_SIZE,
    "adam_epsilon": (0.0, -1e-8, INF, NAN, None),
    "grad_clip": (0.0, -1.0, NAN, None),
    "entropy_coeff": (-1e-3, INF, NAN, [[0, 0.1], [9, -0.1]], [[0, INF]], [[5, 0.1]], [], None),
    "vf_lr": NO_STEP_SIZE,
    "num_vf_updates": (0, -1, 8.0, None),
    "running_mean_decay": (-0.1, 1.0, NAN, None),
    "fcnet_hiddens": ((0,), (64, -1), [64, 0], (64.5,), (True,)),
    "fcnet_activation": ("gelu", "ReLU", None),
    "initial_log_std": (-20.1, 2.1, -INF, INF, NAN, None),
    "num_envs_per_env_runner": (0, -1, 16.0, None),
    "max_episode_steps": (0, -1, 100.5, INF, None),
}
"""Values out of range, by field."""

SWITCHES = {"discount_from_start", "normalize_advantages", "bootstrap_truncated"}


def test_every_field_but_the_switches_is_in_the_table() -> None:
    fields = {field.name for field in dataclasses.fields(REINFORCEOptions)}
    assert fields - set(WRONG) == SWITCHES
    assert set(WRONG) <= fields


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, wrong in WRONG.items() for value in wrong]
)
def test_a_field_out_of_range_is_refused_with_its_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        REINFORCEOptions(**{name: value})
    text = str(refused.value)
    assert text.startswith(f"{name} must be ")
    shown = tuple(value) if name == "fcnet_hiddens" else value
    assert repr(shown) in text
    assert "\n" not in text


@pytest.mark.parametrize("sizes", [32, None, "32", {32}], ids=repr)
def test_sizes_that_are_no_list_are_refused(sizes: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"fcnet_hiddens must be a list of sizes, got {sizes!r}")):
        REINFORCEOptions(fcnet_hiddens=sizes)


def test_a_total_return_is_discounted_from_the_start_anyhow() -> None:
    message = "discount_from_start must be False with estimator total_return, whose discount always counts from the start, got True"
    with pytest.raises(ValueError, match=re.escape(message)):
        REINFORCEOptions(estimator="total_return", discount_from_start=True)
    REINFORCEOptions(estimator="reward_to_go", discount_from_start=True)
    REINFORCEOptions(estimator="total_return", discount_from_start=False)


@pytest.mark.parametrize("estimator", ["total_return", "reward_to_go"])
@pytest.mark.parametrize("baseline", ["none", "running_mean", "value"])
def test_a_cut_episode_goes_on_only_with_a_value_network_and_rewards_to_go(
    estimator: Any, baseline: Any
) -> None:
    REINFORCEOptions(estimator=estimator, baseline=baseline)
    if (estimator, baseline) == ("reward_to_go", "value"):
        REINFORCEOptions(estimator=estimator, baseline=baseline, bootstrap_truncated=True)
        return
    message = (
        "bootstrap_truncated must be False unless baseline is value and estimator is reward_to_go, got True"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        REINFORCEOptions(estimator=estimator, baseline=baseline, bootstrap_truncated=True)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"estimator": "total_return"},
        {"discount_from_start": True},
        {"baseline": "none"},
        {"baseline": "running_mean"},
        {"normalize_advantages": True},
        {"num_episodes_per_train_batch": 1, "train_batch_size_per_learner": 0},
        {"train_batch_size_per_learner": 1},
        {"lr": 1e-12},
        {"lr": ((0, 1e-3), (100, 0.0))},
        {"vf_lr": ((0, 0.0), (100, 1e-3))},
        {"grad_clip": INF},
        {"entropy_coeff": 0.0},
        {"entropy_coeff": ((0, 0.1), (100, 0.0))},
        {"num_vf_updates": 1},
        {"running_mean_decay": 0.0},
        {"fcnet_hiddens": ()},
        {"fcnet_hiddens": (1,)},
        {"fcnet_activation": "relu"},
        {"fcnet_activation": "silu"},
        {"initial_log_std": -20},
        {"initial_log_std": 2},
        {"num_envs_per_env_runner": 1, "max_episode_steps": 1},
    ],
    ids=repr,
)
def test_the_ends_of_the_ranges_are_allowed(change: dict[str, Any]) -> None:
    options = REINFORCEOptions(**change)
    assert {name: getattr(options, name) for name in change} == change


def test_rllibs_lists_are_accepted_and_held_as_tuples() -> None:
    lists: dict[str, Any] = {
        "lr": [[0, 1e-3], [50_000, 5e-4]],
        "vf_lr": [[0, 1]],
        "entropy_coeff": [[0, 1], [9, 0]],
        "fcnet_hiddens": [32],
    }
    options = REINFORCEOptions(**lists)
    assert options.lr == ((0, 1e-3), (50_000, 5e-4))
    assert options.vf_lr == ((0, 1.0),)
    assert options.entropy_coeff == ((0, 1.0), (9, 0.0))
    assert options.fcnet_hiddens == (32,)
    hash(options)


def test_options_can_not_be_changed_behind_their_check() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        REINFORCEOptions().gamma = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match=re.escape("gamma must be from 0 to 1, got 2.0")):
        dataclasses.replace(REINFORCEOptions(), gamma=2.0)


def test_there_are_presets_and_each_is_one_of_them() -> None:
    assert "CartPole-v1" in PRESETS
    assert all(isinstance(preset, REINFORCEOptions) for preset in PRESETS.values())
    assert all(dataclasses.replace(preset) == preset for preset in PRESETS.values())
