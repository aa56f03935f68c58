"""DQN's hyperparameters: what is refused, what is converted, and what follows from them."""

import dataclasses
import re
from typing import Any

import pytest

from algorithms.dqn.options import PRESETS, DQNOptions

INF, NAN = float("inf"), float("nan")

WRONG: dict[str, tuple[Any, ...]] = {
    "gamma": (-0.01, 1.01, NAN),
    "lr": (
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
    ),
    "adam_epsilon": (0.0, -1e-8, INF, NAN),
    "grad_clip": (0.0, -1.0, NAN),
    "train_batch_size_per_learner": (0, -64, 64.0),
    "training_intensity": (0.0, -8.0, INF, NAN),
    "td_error_loss_fn": ("l1", "", None),
    "target_network_update_freq": (0, -1, 500.5),
    "tau": (0.0, -0.1, 1.01, NAN),
    "epsilon": (
        -0.1,
        1.1,
        NAN,
        [[0, 1.0], [100, -0.1]],
        [[0, 1.1]],
        [[0, 1.0], [INF, 0.5]],
        [[100, 1.0]],
        None,
    ),
    "replay_buffer_capacity": (0, -1, 999, 2000.5),  # num_steps_sampled_before_learning_starts is 1000
    "num_steps_sampled_before_learning_starts": (0, -1, 1000.0),
    "fcnet_hiddens": ((0,), (64, -1), [64, 0], (64.5,)),
    "fcnet_activation": ("gelu", "ReLU", None),
    "num_envs_per_env_runner": (0, -1, 16.0),
    "rollout_fragment_length": (0, -8, 8.5, "auto"),
    "max_episode_steps": (0, -1, 100.5, None),
}
"""Values out of range, by field."""


def test_every_field_but_the_switches_is_in_the_table() -> None:
    fields = {field.name for field in dataclasses.fields(DQNOptions)}
    assert fields - set(WRONG) == {"double_q"}
    assert set(WRONG) <= fields


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, wrong in WRONG.items() for value in wrong]
)
def test_a_field_out_of_range_is_refused_with_its_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        DQNOptions(**{name: value})
    text = str(refused.value)
    assert text.startswith(f"{name} must be ")
    shown = tuple(value) if name == "fcnet_hiddens" else value
    assert repr(shown) in text
    assert "\n" not in text


def test_both_of_two_fields_that_exclude_each_other_are_named() -> None:
    message = "replay_buffer_capacity must be at least num_steps_sampled_before_learning_starts (80), got 79"
    with pytest.raises(ValueError, match=re.escape(message)):
        DQNOptions(replay_buffer_capacity=79, num_steps_sampled_before_learning_starts=80)
    DQNOptions(replay_buffer_capacity=80, num_steps_sampled_before_learning_starts=80)


@pytest.mark.parametrize(
    "change",
    [
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"lr": 1e-12},
        {"lr": ((0, 1e-3), (100, 0.0))},
        {"grad_clip": INF},
        {"tau": 1.0},
        {"tau": 1e-3},
        {"epsilon": 0.0},
        {"epsilon": 1.0},
        {"fcnet_hiddens": ()},
        {"fcnet_hiddens": (1,)},
        {"td_error_loss_fn": "mse"},
        {"fcnet_activation": "tanh"},
        {"fcnet_activation": "silu"},
        {"num_steps_sampled_before_learning_starts": 1, "replay_buffer_capacity": 1},
        {"train_batch_size_per_learner": 1},
        {"training_intensity": 0.01},
        {"target_network_update_freq": 1},
        {"num_envs_per_env_runner": 1, "rollout_fragment_length": 1},
    ],
    ids=repr,
)
def test_the_ends_of_the_ranges_are_allowed(change: dict[str, Any]) -> None:
    options = DQNOptions(**change)
    assert {name: getattr(options, name) for name in change} == change


def test_rllibs_lists_are_accepted_and_held_as_tuples() -> None:
    options = DQNOptions(
        lr=[[0, 1e-3], [50_000, 5e-4]], epsilon=[[0, 1], [10_000, 0.05]], fcnet_hiddens=[32, 16]
    )  # type: ignore[arg-type]
    assert options.lr == ((0, 1e-3), (50_000, 5e-4))
    assert options.epsilon == ((0, 1.0), (10_000, 0.05))
    assert options.fcnet_hiddens == (32, 16)
    assert options == DQNOptions(
        lr=((0, 1e-3), (50_000, 5e-4)), epsilon=((0, 1.0), (10_000, 0.05)), fcnet_hiddens=(32, 16)
    )
    hash(options)


@pytest.mark.parametrize(
    ("freq", "intensity", "batch_size", "updates"),
    [
        (
            512,
            8.0,
            64,
            64,
        ),  # 8 transitions trained on per step and 64 per update: one update in 8 steps, so 512 / 8
        (500, 1.0, 50, 10),
        (100, 0.5, 10, 5),
        (30, 64.0, 32, 60),  # two updates per step
        (11, 1.0, 4, 3),  # 2.75 updates, which there are not
        (3, 1.0, 64, 1),  # fewer than one: after each
    ],
)
def test_updates_per_target_update_by_hand(
    freq: int, intensity: float, batch_size: int, updates: int
) -> None:
    options = DQNOptions(
        target_network_update_freq=freq, training_intensity=intensity, train_batch_size_per_learner=batch_size
    )
    assert options.updates_per_target_update == updates
    assert isinstance(options.updates_per_target_update, int)


def test_options_can_not_be_changed_behind_their_check() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DQNOptions().gamma = 2.0  # type: ignore[misc]
    with pytest.raises(ValueError, match=re.escape("gamma must be from 0 to 1, got 2.0")):
        dataclasses.replace(DQNOptions(), gamma=2.0)


def test_there_are_presets_for_the_environments_of_the_readme() -> None:
    assert {"CartPole-v1", "Acrobot-v1"} <= set(PRESETS)
    assert all(isinstance(preset, DQNOptions) for preset in PRESETS.values())
