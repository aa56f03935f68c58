"""The RLlib configuration that our algorithms share: hyperparameters, and the supported settings of RLlib.

It has the fields of the algorithm's options; learners and modules read the frozen object `options`. A setting
without effect is refused by name, before anything starts."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry
from ray.util.debug import log_once

from algorithms.rl import vector_envs
from algorithms.rl.env_runner import VectorEnvRunner
from algorithms.rl.learner import RolloutLearner
from algorithms.rl.runner_pool import RunnerPool
from algorithms.rl.samplers import BatchSampler, StreamSampler

EPISODE_CALLBACKS = (
    "on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end",
    "on_sample_end", "on_environment_created",
)  # fmt: skip

CONNECTORS = ("_env_to_module_connector", "_module_to_env_connector", "_learner_connector")

NETWORK_OPTIONS = ("fcnet_hiddens", "fcnet_activation")
"""Options that `rl_module(model_config=...)` may set, too."""

CACHED_OPTIONS = "_options"
"""Where a configuration keeps its checked options until a setting changes."""


class RolloutConfig(AlgorithmConfig):
    """RLlib's configuration with the fields of an algorithm's options; see `validate`."""

    options_class: ClassVar[type]
    module_class: ClassVar[type[TorchRLModule]]
    rollout_learner_class: ClassVar[type[RolloutLearner]]
    fixed_settings: ClassVar[dict[str, Any]] = {"lr_schedule": None}
    """Options of RLlib's algorithm of the same name that have one supported value only."""

    def __init__(self, algo_class: type) -> None:
        super().__init__(algo_class=algo_class)
        for name, value in vars(self.options_class()).items():
            setattr(self, name, value)
        self.env_runner_cls = VectorEnvRunner
        self.max_requests_in_flight_per_env_runner = 2
        self.merge_env_runner_states = False
        self.broadcast_env_runner_states = False
        self.restart_failed_sub_environments = True
        self.env_runner_health_probe_timeout_s = 0.05
        self.env_runner_restore_timeout_s = 120
        self.delay_between_env_runner_restarts_s = 0
        self.min_sample_timesteps_per_iteration = 1000
        self.min_time_s_per_iteration = None
        self.grad_clip_by = "global_norm"
        self.evaluation_config = AlgorithmConfig.overrides(explore=False)

    def make_sampler(self, pool: RunnerPool) -> StreamSampler | BatchSampler:
        """Return how this algorithm asks its runners for rollouts."""
        raise NotImplementedError

    def training(self, **options: Any) -> Any:
        """Set hyperparameters by name: any field of the options, or of RLlib's own `training`.

        Raises ValueError for unsupported options of RLlib's algorithm, TypeError for unknown names.
        """
        for name in set(options) & set(self.fixed_settings):
            fixed = self.fixed_settings[name]
            if options[name] != fixed:
                raise ValueError(
                    f"{name} must be {fixed!r} (the only supported value), got {options[name]!r}"
                )
            del options[name]
        if "train_batch_size" in options:  # RLlib's older name
            options["train_batch_size_per_learner"] = options.pop("train_batch_size")
        for name in set(options) & set(self.option_names()):
            setattr(self, name, options.pop(name))
        super().training(**options)
        return self

    # Options: built and checked once, until a setting changes

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the hyperparameters."""
        return tuple(cls.options_class.__dataclass_fields__)  # type: ignore[attr-defined]

    @property
    def options(self) -> Any:
        """The hyperparameters. Raises ValueError, naming the value, for one that is out of its range."""
        if CACHED_OPTIONS not in self.__dict__:
            self.__dict__[CACHED_OPTIONS] = self._checked_options()
        return self.__dict__[CACHED_OPTIONS]

    def _checked_options(self) -> Any:
        own = {name: getattr(self, name) for name in self.option_names()}
        if own.get("rollout_fragment_length") == "auto":
            own["rollout_fragment_length"] = self.options_class.rollout_fragment_length  # type: ignore[attr-defined]
        if own["grad_clip"] is None:  # RLlib's word for no clipping
            own["grad_clip"] = math.inf
        network = self._network_settings()
        return self.options_class(
            **own | {name: network[name] for name in NETWORK_OPTIONS if name in network}
        )

    def __setattr__(self, key: str, value: Any) -> None:
        super().__setattr__(key, value)
        if key in self.option_names() or key in ("_model_config", "_rl_module_spec"):
            self.__dict__.pop(CACHED_OPTIONS, None)

    def to_dict(self) -> dict[str, Any]:
        """Return RLlib's dict of all settings."""
        settings: dict[str, Any] = super().to_dict()
        settings.pop(CACHED_OPTIONS, None)
        return settings

    def get_state(self) -> dict[str, Any]:
        """Return RLlib's state with every option: RLlib omits values of -1, its mark of deprecation."""
        state = super().get_state() | {name: getattr(self, name) for name in self.option_names()}
        state.pop(CACHED_OPTIONS, None)
        return state  # type: ignore[no-any-return]

    # Network and learner

    def _network_settings(self) -> dict[str, Any]:
        """Return the user's `model_config` of our network; empty for a network of the user's own."""
        spec, asked = self._rl_module_spec, self._model_config
        if spec is not None:
            module_class = getattr(spec, "module_class", None) or self.module_class
            asked = (spec.model_config or {}) if issubclass(module_class, self.module_class) else {}
        return dict(asked) if isinstance(asked, dict) else asdict(asked)

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        """A module's `model_config`: the options as one object, and each by name for a user's own module."""
        options = self.options
        return super()._model_config_auto_includes | vars(options) | {"options": options}  # type: ignore[no-any-return]

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return the spec of the algorithm's own network."""
        return RLModuleSpec(module_class=self.module_class)

    def get_default_learner_class(self) -> type[RolloutLearner]:
        """Return the algorithm's own learner."""
        return self.rollout_learner_class

    # Environments and seeds

    def env_and_config(self, worker_index: int = 0, num_workers: int = 0) -> tuple[Any, EnvContext]:
        """Return the environment (an id, a path, a class or a function) and its `env_config`."""
        env = self.env
        if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
            env = _global_registry.get(ENV_CREATOR, env)
        return env, EnvContext(self.env_config, worker_index=worker_index, num_workers=num_workers)

    def seed_sequence(self, worker_index: int) -> np.random.SeedSequence:
        """Return seeds that no other runner has, in training or evaluation, also across restarts.

        The runner in the algorithm's own process has the seeds of a lone remote runner.
        """
        entropy = self.seed
        if worker_index > 0 and ray.get_runtime_context().was_current_actor_reconstructed:
            entropy = None  # from the operating system: a run that lost a runner can't be repeated anyway
        index = worker_index or int(self.num_env_runners == 0)
        return np.random.SeedSequence(entropy, spawn_key=(int(self.in_evaluation), index))

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError if the algorithm can't learn on environments with these spaces."""
        vector_envs.require_vector_obs(self.env, obs)

    # Validation

    def supported_settings(self) -> dict[str, tuple[Any, ...]]:
        """Return the supported values of those RLlib settings that support only some; others are refused."""
        return {
            "enable_env_runner_and_connector_v2": (True,),
            "num_learners": (0, 1),
            "grad_clip_by": ("global_norm",),
            "framework_str": ("torch",),
            "num_aggregator_actors_per_learner": (0,),
            "num_gpus_per_env_runner": (0,),
            "create_local_env_runner": (True,),
            "count_steps_by": ("env_steps",),
            "output": (None,),
            "torch_compile_learner": (False,),
            "_torch_lr_scheduler_classes": (None,),
            "_torch_grad_scaler_class": (None,),
            "num_epochs": (1,),
            "minibatch_size": (None,),
        }

    def validate(self) -> None:
        """Raise ValueError, naming the value, for a setting that is out of range or not supported."""
        self.__dict__.pop(CACHED_OPTIONS, None)  # a list may have changed in place
        if "rollout_fragment_length" in self.option_names():
            self.rollout_fragment_length = self.options.rollout_fragment_length
        log_once(f"{self.algo_class.__name__}_on_new_api_stack")  # no advice to go back to RLlib's old stack
        super().validate()
        for name, supported in self.supported_settings().items():
            if getattr(self, name) not in supported:
                values = " or ".join(map(repr, supported))
                raise ValueError(f"{name} must be {values}, got {getattr(self, name)!r}")
        if self._rl_module_spec is None:
            self._require_known_network_settings()
        if self.is_multi_agent:
            raise ValueError("multi_agent policies are not supported: there is one agent")
        if not issubclass(self.env_runner_cls, VectorEnvRunner):
            raise ValueError(f"env_runner_cls must be a VectorEnvRunner, got {self.env_runner_cls.__name__}")
        for name in CONNECTORS:
            if getattr(self, name) is not None:
                raise ValueError(f"{name.lstrip('_')} must be left out: rollouts go through no connectors")
        self._require_no_episode_callbacks()

    def _require_known_network_settings(self) -> None:
        """Raise ValueError for a `model_config` that our network has no use for."""
        usual = asdict(DefaultModelConfig()) | vars(self.options)
        for name, value in self._network_settings().items():
            if name not in usual or (value != usual[name] and name not in NETWORK_OPTIONS):
                known = name in self.option_names()
                why = f"it is the option {name}, {usual[name]!r}" if known else "no network here has it"
                raise ValueError(f"model_config {name} must be left out: {why}, got {value!r}")

    def _require_no_episode_callbacks(self) -> None:
        """Raise ValueError for callbacks that need episode objects."""
        given = self.callbacks_class
        for name in EPISODE_CALLBACKS:
            overridden = getattr(self, "callbacks_" + name, None) is not None
            for cls in given if isinstance(given, list | tuple) else [given]:
                own = inspect.isclass(cls) and getattr(cls, name) is not getattr(RLlibCallback, name)
                overridden = overridden or own
            if overridden:
                raise ValueError(
                    f"callback {name} must be left out: rollouts are arrays, not episode objects"
                )
