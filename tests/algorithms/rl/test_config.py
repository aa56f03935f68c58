"""The configuration: one checked options object, every way to change a setting, the choice of the sampler."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule

from algorithms.dqn import DQNConfig, DQNOptions
from algorithms.reinforce import REINFORCEConfig, REINFORCEOptions
from algorithms.rl.config import CACHED_OPTIONS
from algorithms.rl.samplers import BatchSampler, StreamSampler


class Counted(DQNOptions):
    """Counts how often options are built and checked."""

    num_checks = 0

    def __post_init__(self) -> None:
        Counted.num_checks += 1
        super().__post_init__()


class CountedConfig(DQNConfig):
    options_class = Counted


def test_options_are_checked_once_until_a_setting_changes() -> None:
    config = CountedConfig()
    Counted.num_checks = 0
    assert config.options is config.options
    assert config.get_rl_module_spec is not None
    assert config.copy().options is not None
    assert Counted.num_checks == 1
    config.environment("CartPole-v1")  # no option
    assert config.options.gamma == 0.99
    assert Counted.num_checks == 1
    config.training(gamma=0.5)
    assert config.options.gamma == 0.5
    assert Counted.num_checks == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.training(tau=0.5),
        lambda config: setattr(config, "tau", 0.5),
        lambda config: config.update_from_dict({"tau": 0.5}),
    ],
    ids=["training", "attribute", "update_from_dict"],
)
def test_every_way_of_changing_a_setting_changes_the_options(change: Any) -> None:
    config = DQNConfig()
    assert config.options.tau == 0.02
    change(config)
    assert config.options.tau == 0.5


def test_a_copy_has_options_of_its_own() -> None:
    config = DQNConfig().training(tau=0.5)
    copied = config.copy(copy_frozen=False).training(tau=0.25)
    pickled = pickle.loads(pickle.dumps(config)).training(tau=0.75)
    assert [one.options.tau for one in (config, copied, pickled)] == [0.5, 0.25, 0.75]


def test_an_evaluation_has_its_own_settings_and_leaves_those_of_the_training_alone() -> None:
    config = DQNConfig().environment("CartPole-v1").training(rollout_fragment_length=16)
    config.evaluation(evaluation_config={"max_episode_steps": 500})
    config.validate()
    evaluation = config.get_evaluation_config_object()
    assert evaluation is not None
    assert (evaluation.options.max_episode_steps, config.options.max_episode_steps) == (500, 100_000)
    assert config.options.rollout_fragment_length == 16


def test_validation_notices_a_list_that_changed_in_place() -> None:
    config = DQNConfig().environment("CartPole-v1").training(fcnet_hiddens=[16])
    assert config.options.fcnet_hiddens == (16,)
    config.fcnet_hiddens.append(0)
    with pytest.raises(ValueError, match="fcnet_hiddens"):
        config.validate()


def test_a_frozen_config_still_has_options() -> None:
    config = DQNConfig().training(tau=0.5)
    config.freeze()
    assert config.options.tau == 0.5


def test_the_kept_options_are_no_setting() -> None:
    config = DQNConfig()
    assert config.options is not None
    assert CACHED_OPTIONS not in config.to_dict()
    assert CACHED_OPTIONS not in config.get_state()


def test_a_value_of_minus_one_survives_a_checkpoint() -> None:
    """RLlib's state leaves out settings of -1, its mark of deprecated ones."""
    config = REINFORCEConfig().training(initial_log_std=-1.0)
    assert REINFORCEConfig.from_state(config.get_state()).options.initial_log_std == -1.0


def test_rllibs_words_for_defaults_are_understood() -> None:
    config = DQNConfig().training(grad_clip=None).env_runners(rollout_fragment_length="auto")
    assert config.options.grad_clip == float("inf")
    assert config.options.rollout_fragment_length == DQNOptions.rollout_fragment_length


@pytest.mark.parametrize("model_config", [{"fcnet_hiddens": [8]}, DefaultModelConfig(fcnet_hiddens=[8])])
def test_a_model_config_sets_the_options_of_the_network(model_config: Any) -> None:
    config = DQNConfig().environment("CartPole-v1")
    by_method = config.copy().rl_module(model_config=model_config)
    by_spec = config.copy().rl_module(rl_module_spec=RLModuleSpec(model_config=model_config))
    for changed in (by_method, by_spec):
        assert changed.options.fcnet_hiddens == (8,)
        assert changed.model_config["options"] is changed.options
    assert by_method.model_config["fcnet_hiddens"] == [8]


class OwnQModule(DQNConfig.module_class):  # type: ignore[misc, name-defined]
    """A network of the user's own, on ours."""


class OwnModule(TorchRLModule):
    """A network of the user's own."""


def test_a_module_on_ours_takes_the_options_of_its_spec_and_one_of_the_users_own_has_its_own() -> None:
    settings = {"fcnet_hiddens": [8], "own": 1}
    config = DQNConfig().environment("CartPole-v1")
    on_ours = config.copy().rl_module(
        rl_module_spec=RLModuleSpec(module_class=OwnQModule, model_config=settings)
    )
    own = config.copy().rl_module(rl_module_spec=RLModuleSpec(module_class=OwnModule, model_config=settings))
    assert on_ours.options.fcnet_hiddens == (8,)
    assert own.options.fcnet_hiddens == DQNOptions.fcnet_hiddens
    for changed in (on_ours, own):
        changed.validate()


def test_the_configuration_chooses_its_sampler() -> None:
    pool: Any = None
    assert isinstance(DQNConfig().make_sampler(pool), StreamSampler)
    assert isinstance(REINFORCEConfig().make_sampler(pool), BatchSampler)


def test_options_begin_with_the_defaults_of_their_class() -> None:
    assert DQNConfig().options == DQNOptions()
    assert REINFORCEConfig().options == REINFORCEOptions()
