"""The options of all algorithms: they name wrong values, keep right ones, and check every field."""

import dataclasses
import math
import re
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algorithms.cvae.options import PRESETS as CVAE_PRESETS
from algorithms.cvae.options import CVAEOptions
from algorithms.dqn.options import PRESETS as DQN_PRESETS
from algorithms.dqn.options import DQNOptions
from algorithms.gan.options import GANOptions
from algorithms.reinforce.options import PRESETS as REINFORCE_PRESETS
from algorithms.reinforce.options import REINFORCEOptions

INF, NAN = float("inf"), float("nan")
ALL: tuple[Any, ...] = (GANOptions, CVAEOptions, DQNOptions, REINFORCEOptions)

COUNTS = (0, -1, 2.5, 16.0, True, "3", None)
POSITIVE = (0.0, -1e-3, INF, NAN, "1", None, True)
SHARES = (-0.1, 1.0, NAN, "0.5", None)
SHARES_AND_ONE = (-0.01, 1.01, NAN, None, "0.9")
WORDS = ("", "unknown", None, 1)
STEP_SIZES = (
    0.0, -1e-3, INF, NAN, None, True, "fast", [], ((0, 0.0), (9, 0.0)), [[0, 1e-3], [9, -1e-4]], [[0, NAN]],
    [[5, 1e-3]], [[0, 1e-3], [0, 1e-4]],
)  # fmt: skip
SIZES = ((0,), (64, -1), [64, 0], (64.5,), (True,), 32, None, "32", {32})
GENERATIVE = {"latent_size": COUNTS, "batch_size": COUNTS, "ema_decay": SHARES, "precision": ("fp8", *WORDS)}
RL = {
    "gamma": SHARES_AND_ONE,
    "lr": STEP_SIZES,
    "adam_epsilon": POSITIVE,
    "grad_clip": (0.0, -1.0, NAN, None),
    "fcnet_hiddens": SIZES,
    "fcnet_activation": ("gelu", "ReLU", *WORDS),
    "num_envs_per_env_runner": COUNTS,
    "max_episode_steps": (*COUNTS, INF),
}

WRONG: dict[Any, dict[str, tuple[Any, ...]]] = {
    GANOptions: GENERATIVE
    | {
        "width": COUNTS,
        "batch_size": (*COUNTS, 1),
        "generator_lr": POSITIVE,
        "discriminator_lr": POSITIVE,
        "beta1": SHARES,
        "beta2": SHARES,
        "label_smoothing": (-0.1, 0.5, NAN, None),
        "loss": ("hinge", *WORDS),
    },
    CVAEOptions: GENERATIVE
    | {
        "architecture": ("vit", *WORDS),
        "width": COUNTS,
        "depth": (1.5, *COUNTS),
        "prior": ("vamp", *WORDS),
        "binarisation": ("static", *WORDS),
        "num_train_digits": (-1, 2.5, None),
        "lr": POSITIVE,
        "beta": (-0.5, INF, NAN, None),
        "beta_warmup_updates": (-1, 2.5, None),
        "num_importance_samples": COUNTS,
        "num_nll_samples": COUNTS,
        "num_nll_digits": COUNTS,
    },
    DQNOptions: RL
    | {
        "train_batch_size_per_learner": COUNTS,
        "training_intensity": POSITIVE,
        "td_error_loss_fn": ("l1", *WORDS),
        "target_network_update_freq": COUNTS,
        "tau": (0.0, -0.1, 1.01, NAN, None),
        "epsilon": (
            -0.1,
            1.1,
            NAN,
            None,
            [[0, 1.0], [9, -0.1]],
            [[0, 1.1]],
            [[0, 1.0], [INF, 0.5]],
            [[9, 1.0]],
        ),
        "replay_buffer_capacity": (*COUNTS, 999),  # num_steps_sampled_before_learning_starts is 1000
        "num_steps_sampled_before_learning_starts": COUNTS,
        "rollout_fragment_length": (*COUNTS, "auto"),
        "double_q": (None, 1, "true"),
    },
    REINFORCEOptions: RL
    | {
        "estimator": ("rewards_to_go", *WORDS),
        "baseline": ("mean", *WORDS),
        "num_episodes_per_train_batch": COUNTS,
        "train_batch_size_per_learner": (-1, 64.0, None),
        "entropy_coeff": (-1e-3, INF, NAN, [[0, 0.1], [9, -0.1]], [[0, INF]], [[5, 0.1]], [], None),
        "vf_lr": STEP_SIZES,
        "num_vf_updates": COUNTS,
        "running_mean_decay": SHARES,
        "initial_log_std": (-20.1, 2.1, -INF, INF, NAN, None),
        "discount_from_start": (None, 1, "true"),
        "normalize_advantages": (None, 1, "true"),
        "bootstrap_truncated": (None, 0, "false"),
    },
}
"""Values out of range, of every field."""

EXCLUDING: list[tuple[Any, dict[str, Any], str]] = [
    (
        CVAEOptions,
        {"width": 15, "architecture": "conv"},
        "width must be a whole number of at least 16 (conv), got 15",
    ),
    (CVAEOptions, {"prior": "flow", "latent_size": 1}, "prior flow excludes latent_size 1"),
    (CVAEOptions, {"num_importance_samples": 5, "beta": 2.0}, "num_importance_samples 5 excludes beta 2"),
    (
        CVAEOptions,
        {"num_importance_samples": 5, "beta_warmup_updates": 9},
        "num_importance_samples 5 excludes beta 1 and beta_warmup_updates 9",
    ),
    (
        DQNOptions,
        {"replay_buffer_capacity": 79, "num_steps_sampled_before_learning_starts": 80},
        "replay_buffer_capacity must be at least num_steps_sampled_before_learning_starts (80), got 79",
    ),
    (
        REINFORCEOptions,
        {"estimator": "total_return", "discount_from_start": True},
        "discount_from_start must be False with estimator total_return, whose discount always counts from "
        "the start, got True",
    ),
    *(
        (
            REINFORCEOptions,
            {"estimator": estimator, "baseline": baseline, "bootstrap_truncated": True},
            "bootstrap_truncated must be False unless baseline is value and estimator is reward_to_go, "
            "got True",
        )
        for estimator in ("total_return", "reward_to_go")
        for baseline in ("none", "running_mean", "value")
        if (estimator, baseline) != ("reward_to_go", "value")
    ),
]
"""Values that are allowed alone but exclude each other."""

RIGHT: dict[Any, list[dict[str, Any]]] = {
    GANOptions: [
        {"latent_size": 1, "width": 1, "batch_size": 2},
        {"beta1": 0, "beta2": 0.0, "label_smoothing": 0.0, "ema_decay": 0.999},
        {"generator_lr": 1, "discriminator_lr": 1e-12, "precision": "bf16"},
    ],
    CVAEOptions: [
        {"latent_size": 1, "width": 1, "depth": 1, "batch_size": 1},
        {"architecture": "conv", "width": 16, "prior": "flow", "latent_size": 2},
        {"num_importance_samples": 5, "prior": "learned", "binarisation": "dynamic"},
        {"beta": 0, "beta_warmup_updates": 0, "num_train_digits": 0},
    ],
    DQNOptions: [
        {"gamma": 0.0},
        {"gamma": 1.0, "lr": 1e-12, "grad_clip": INF},
        {"lr": ((0, 1e-3), (100, 0.0)), "tau": 1.0, "epsilon": 0.0},
        {"tau": 1e-3, "epsilon": 1.0, "fcnet_hiddens": (), "td_error_loss_fn": "mse"},
        {"fcnet_hiddens": (1,), "fcnet_activation": "tanh"},
        {"fcnet_activation": "silu", "training_intensity": 0.01, "target_network_update_freq": 1},
        {"num_steps_sampled_before_learning_starts": 1, "replay_buffer_capacity": 1},
        {"replay_buffer_capacity": 80, "num_steps_sampled_before_learning_starts": 80},
        {"train_batch_size_per_learner": 1, "num_envs_per_env_runner": 1, "rollout_fragment_length": 1},
    ],
    REINFORCEOptions: [
        {"gamma": 0.0, "estimator": "total_return", "baseline": "none"},
        {"gamma": 1.0, "discount_from_start": True, "baseline": "running_mean"},
        {"normalize_advantages": True, "bootstrap_truncated": True},
        {"estimator": "total_return", "discount_from_start": False},
        {"num_episodes_per_train_batch": 1, "train_batch_size_per_learner": 0, "num_vf_updates": 1},
        {"train_batch_size_per_learner": 1, "lr": 1e-12, "vf_lr": ((0, 0.0), (100, 1e-3))},
        {"lr": ((0, 1e-3), (100, 0.0)), "grad_clip": INF, "entropy_coeff": 0.0},
        {"entropy_coeff": ((0, 0.1), (100, 0.0)), "running_mean_decay": 0.0, "fcnet_hiddens": ()},
        {"fcnet_hiddens": (1,), "fcnet_activation": "relu", "initial_log_std": -20},
        {"fcnet_activation": "silu", "initial_log_std": 2},
        {"num_envs_per_env_runner": 1, "max_episode_steps": 1},
    ],
}
"""Values at the ends of their ranges."""


def rows(table: dict[Any, Any]) -> list[Any]:
    return [
        pytest.param(options, name, value, id=f"{options.__name__}-{name}-{value!r}")
        for options, fields in table.items()
        for name, values in fields.items()
        for value in values
    ]


@pytest.mark.parametrize("options", ALL)
def test_every_field_has_wrong_values_in_the_table(options: Any) -> None:
    assert {field.name for field in dataclasses.fields(options)} == set(WRONG[options])


@pytest.mark.parametrize(("options", "name", "value"), rows(WRONG))
def test_a_value_out_of_range_is_refused_with_its_field(options: Any, name: str, value: Any) -> None:
    with pytest.raises(ValueError) as refused:
        options(**{name: value})
    text = str(refused.value)
    assert text.startswith(f"{name} must be ")
    assert text.endswith(f", got {value!r}")
    assert "\n" not in text


@pytest.mark.parametrize(("options", "change", "message"), EXCLUDING)
def test_values_that_exclude_each_other_are_refused_with_both(
    options: Any, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        options(**change)


@pytest.mark.parametrize(
    ("options", "change"),
    [(options, change) for options, changes in RIGHT.items() for change in changes],
    ids=repr,
)
def test_the_ends_of_the_ranges_are_allowed(options: Any, change: dict[str, Any]) -> None:
    built = options(**change)
    assert {name: getattr(built, name) for name in change} == change
    hash(built)


@pytest.mark.parametrize("value", [2.5, 16.0, True, "3", None, INF, NAN])
@pytest.mark.parametrize("options", ALL)
def test_whole_numbers_are_whole(options: Any, value: Any) -> None:
    names = [name for name, kind in get_type_hints(options).items() if kind is int]
    assert "max_episode_steps" in names or "latent_size" in names
    for name in names:
        with pytest.raises(ValueError, match=f"^{name} must be a whole number .*, got {value!r}$"):
            options(**{name: value})


ANYTHING = st.one_of(
    st.integers(-3, 3),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
    st.lists(st.integers(-1, 3), max_size=2),
    st.lists(st.tuples(st.integers(0, 9), st.floats()), max_size=2),
)


@given(st.data())
def test_any_value_builds_or_is_refused_by_name(data: st.DataObject) -> None:
    options = data.draw(st.sampled_from(ALL))
    name = data.draw(st.sampled_from([field.name for field in dataclasses.fields(options)]))
    value = data.draw(ANYTHING)
    refusal = ""
    try:
        built = options(**{name: value})
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert any(field.name in refusal for field in dataclasses.fields(options))
        return
    kept = getattr(built, name)
    assert isinstance(kept, tuple) or kept == value
    if isinstance(kept, float):
        assert not math.isnan(kept)


@pytest.mark.parametrize(
    ("options", "lists", "kept"),
    [
        (
            DQNOptions,
            {
                "lr": [[0, 1e-3], [50_000, 5e-4]],
                "epsilon": [[0, 1], [10_000, 0.05]],
                "fcnet_hiddens": [32, 16],
            },
            {
                "lr": ((0, 1e-3), (50_000, 5e-4)),
                "epsilon": ((0, 1.0), (10_000, 0.05)),
                "fcnet_hiddens": (32, 16),
            },
        ),
        (
            REINFORCEOptions,
            {"lr": [[0, 1e-3]], "vf_lr": [[0, 1]], "entropy_coeff": [[0, 1], [9, 0]], "fcnet_hiddens": [32]},
            {
                "lr": ((0, 1e-3),),
                "vf_lr": ((0, 1.0),),
                "entropy_coeff": ((0, 1.0), (9, 0.0)),
                "fcnet_hiddens": (32,),
            },
        ),
    ],
)
def test_rllibs_lists_are_kept_as_tuples(options: Any, lists: dict[str, Any], kept: dict[str, Any]) -> None:
    built = options(**lists)
    assert built == options(**kept)
    hash(built)


@pytest.mark.parametrize("options", ALL)
def test_options_can_not_be_changed_behind_their_check(options: Any) -> None:
    name = next(iter(WRONG[options]))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(options(), name, getattr(options(), name))
    with pytest.raises(ValueError, match=f"{name} must be"):
        dataclasses.replace(options(), **{name: WRONG[options][name][0]})


@pytest.mark.parametrize(
    ("options", "presets", "names"),
    [
        (CVAEOptions, CVAE_PRESETS, {"homework", "likelihood"}),
        (DQNOptions, DQN_PRESETS, {"CartPole-v1", "Acrobot-v1"}),
        (REINFORCEOptions, REINFORCE_PRESETS, {"CartPole-v1", "Acrobot-v1", "Pendulum-v1"}),
    ],
)
def test_there_are_presets(options: Any, presets: dict[str, Any], names: set[str]) -> None:
    assert names <= set(presets)
    assert all(isinstance(preset, options) for preset in presets.values())
    assert all(dataclasses.replace(preset) == preset for preset in presets.values())


# What follows from options


def test_all_digits_train_a_gan_and_the_last_twelfth_validates_a_cvae() -> None:
    assert GANOptions().num_train(60_000) == 60_000
    assert CVAEOptions().num_train(60_000) == 55_000
    assert CVAEOptions(num_train_digits=10_000).num_train(60_000) == 10_000


@pytest.mark.parametrize(
    ("options", "num_digits", "message"),
    [
        (GANOptions(), 100, "batch_size must be at most the number of training digits (100), got 128"),
        (
            CVAEOptions(num_train_digits=9),
            60_000,
            "batch_size must be at most the number of training digits (9), got 32",
        ),
        (
            CVAEOptions(num_train_digits=55_001),
            60_000,
            "num_train_digits must be at most 55000 (the rest validates), got 55001",
        ),
        (CVAEOptions(), 1200, "num_nll_digits must be at most 100 (the validation digits), got 200"),
    ],
)
def test_too_few_digits_are_said(options: Any, num_digits: int, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        options.num_train(num_digits)


@pytest.mark.parametrize(
    ("freq", "intensity", "batch_size", "updates"),
    [
        (512, 8.0, 64, 64),  # 8 trained on per step, 64 per update: an update in 8 steps, so 512 / 8
        (500, 1.0, 50, 10),
        (100, 0.5, 10, 5),
        (30, 64.0, 32, 60),  # two updates per step
        (11, 1.0, 4, 3),  # 2.75 is rounded
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
