"""What our RLlib algorithms have in common: env runners that hand over columns, one central learner, and no connectors in between.

A configuration has the fields of the algorithm's options and refuses by name what would do nothing here. An algorithm asks its runners
through a collector, keeps what checkpoints need, and saves its policy as files. What it does in a step is its own `training_step`."""

from __future__ import annotations

import inspect
import math
import os
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import PurePath
from typing import Any, ClassVar

import pyarrow.fs
import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.env.env_runner_group import EnvRunnerGroup
from ray.rllib.utils.metrics import EVALUATION_RESULTS, LEARNER_RESULTS
from ray.rllib.utils.typing import StateDict
from ray.util.debug import log_once

from algorithms.rl import vector_envs
from algorithms.rl.env_runner import Rollout, VectorEnvRunner, env_of
from algorithms.rl.learner import Learned, RolloutLearner, policy_weights
from algorithms.rl.policy_files import PolicyDescription
from algorithms.rl.rollout_stats import Iteration
from algorithms.rl.runner_pool import Collector, require_resources

COLLECTOR = "collector"
"""Component of the algorithm's state."""

EPISODE_CALLBACKS = (
    "on_episode_created", "on_episode_start", "on_episode_step", "on_episode_end", "on_sample_end", "on_environment_created",
)  # fmt: skip


class RolloutConfig(AlgorithmConfig):
    """RLlib's configuration with the fields of an algorithm's options; see `validate`."""

    options_class: ClassVar[type]
    module_class: ClassVar[type[TorchRLModule]]
    learner_class_: ClassVar[type[RolloutLearner]]
    model_options: ClassVar[tuple[str, ...]]
    """What the module is told of the options."""
    only: ClassVar[dict[str, Any]] = {"lr_schedule": None}
    """Options of RLlib's algorithm of this name that this one has not, with the value that means the same here."""
    synchronous = False
    """Whether remote env runners wait while the learner learns."""
    whole_episodes: ClassVar[bool] = False
    """Whether env runners are asked for batches of whole episodes, and begin each with new ones."""

    def __init__(self, algo_class: type) -> None:
        super().__init__(algo_class=algo_class)
        for name, value in asdict(self.options_class()).items():
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

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return the names of the hyperparameters."""
        return tuple(field.name for field in fields(cls.options_class))

    def training(self, **options: Any) -> Any:
        """Set hyperparameters by name: any field of the options, or of RLlib's own `training`.

        Raises ValueError for options of RLlib's algorithm that this one has not, TypeError for what nobody knows.
        """
        for name in set(options) & set(self.only):
            if options[name] != self.only[name]:
                raise ValueError(
                    f"{name} must be {self.only[name]!r} (there is no other here), got {options[name]!r}"
                )
            del options[name]
        if "train_batch_size" in options:  # RLlib's older name for it
            options["train_batch_size_per_learner"] = options.pop("train_batch_size")
        for name in set(options) & set(self.option_names()):
            setattr(self, name, options.pop(name))
        super().training(**options)
        return self

    @property
    def options(self) -> Any:
        """The hyperparameters, checked."""
        own = {name: getattr(self, name) for name in self.option_names()}
        if own.get("rollout_fragment_length") == "auto":
            own["rollout_fragment_length"] = self.options_class.rollout_fragment_length  # type: ignore[attr-defined]
        if own["grad_clip"] is None:  # RLlib's word for it
            own["grad_clip"] = math.inf
        return self.options_class(**own)

    def get_state(self) -> dict[str, Any]:
        """Return RLlib's state, with every option: RLlib takes a value of -1 for one that is deprecated, and leaves it out."""
        return super().get_state() | {name: getattr(self, name) for name in self.option_names()}  # type: ignore[no-any-return]

    @property
    def _model_config_auto_includes(self) -> dict[str, Any]:
        options = self.options
        told = {name: getattr(options, name) for name in self.model_options}
        return super()._model_config_auto_includes | told  # type: ignore[no-any-return]

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return the algorithm's own network's."""
        return RLModuleSpec(module_class=self.module_class)

    def get_default_learner_class(self) -> type[RolloutLearner]:
        """Return the algorithm's own."""
        return self.learner_class_

    def require_spaces(self, obs: Any, actions: Any) -> None:
        """Raise ValueError where the algorithm can't learn on environments of these spaces."""
        vector_envs.require_vector_obs(self.env, obs)

    def allowed(self) -> dict[str, tuple[Any, ...]]:
        """Return the values of RLlib's settings that mean something here; others are refused."""
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
        """Raise ValueError, naming the value, for what is out of range or not supported; make no environment."""
        options = self.options
        if hasattr(options, "rollout_fragment_length"):
            self.rollout_fragment_length = options.rollout_fragment_length
        log_once(
            f"{self.algo_class.__name__}_on_new_api_stack"
        )  # RLlib's advice for going back to the old one: there is none here
        super().validate()
        for name, allowed in self.allowed().items():
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be {' or '.join(map(repr, allowed))}, got {getattr(self, name)!r}"
                )
        if self._rl_module_spec is None:
            self._require_known_model_config()
        if self.is_multi_agent:
            raise ValueError("multi_agent policies are not supported: there is one agent")
        if not issubclass(self.env_runner_cls, VectorEnvRunner):
            raise ValueError(f"env_runner_cls must be a VectorEnvRunner, got {self.env_runner_cls.__name__}")
        for name in ("_env_to_module_connector", "_module_to_env_connector", "_learner_connector"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name.lstrip('_')} must be left out: rollouts go through no connectors")
        self._require_no_episode_callbacks()

    def _require_known_model_config(self) -> None:
        """Raise ValueError for what `rl_module(model_config=…)` says of a network other than layers of some sizes and a nonlinearity."""
        asked = self._model_config if isinstance(self._model_config, dict) else asdict(self._model_config)
        usual = asdict(DefaultModelConfig())
        for name in asked:
            if name in ("fcnet_hiddens", "fcnet_activation"):
                replace(self.options, **{name: asked[name]})
            elif name in self.model_options:
                option = getattr(self.options, name)
                if asked[name] != option:
                    raise ValueError(
                        f"model_config {name} must be left out: it is the option {name}, {option!r}, got {asked[name]!r}"
                    )
            elif name not in usual or asked[name] != usual[name]:
                raise ValueError(
                    f"model_config {name} must be left out: this network has none, got {asked[name]!r}"
                )

    def _require_no_episode_callbacks(self) -> None:
        classes = (
            self.callbacks_class if isinstance(self.callbacks_class, list | tuple) else [self.callbacks_class]
        )
        for name in EPISODE_CALLBACKS:
            overridden = any(
                getattr(cls, name) is not getattr(RLlibCallback, name)
                for cls in classes
                if inspect.isclass(cls)
            )
            if overridden or getattr(self, "callbacks_" + name, None) is not None:
                raise ValueError(
                    f"callback {name} must be left out: there are columns of steps here, and no episode objects"
                )


class RolloutAlgorithm(Algorithm):
    """An RLlib algorithm whose env runners hand over columns to one central learner."""

    def setup(self, config: RolloutConfig) -> None:
        """Start env runners and learner. Raises ValueError for an environment that can't be made or does not suit, before any starts."""
        env, env_config = env_of(self.config)
        single = vector_envs.make_one(env, env_config)
        try:
            self.config.require_spaces(single.observation_space, single.action_space)
        finally:
            single.close()  # type: ignore[no-untyped-call]
        require_resources(self.config)
        super().setup(config)
        self._collector = Collector(self.env_runner_group, self.config)
        self._collector.broadcast(*self._on_learner(policy_weights))
        self._sums = Iteration()

    def _on_learner(self, function: Any, **kwargs: Any) -> Any:
        """Return `function(learner, **kwargs)`, done where the learner is. Raises RuntimeError if it is lost.

        RLlib's own calls say nothing of it: a remote learner that fails is marked as unhealthy for good, and the next call returns nothing.
        """
        results = list(self.learner_group.foreach_learner(partial(function, **kwargs)))
        if len(results) == 1 and results[0].ok:
            return results[0].get()
        reason = results[0].get() if results else "an earlier call failed; Ray's log says why"
        raise RuntimeError(f"the learner is lost: {reason}")

    def _log(self, rollouts: list[Rollout], learned: Learned) -> None:
        """End the training step and log it, under RLlib's keys where it has one."""
        iteration = self._sums
        iteration.end_step(
            env_steps=learned.num_env_steps,
            updates=learned.num_updates,
            loss=learned.metrics.pop("total_loss", 0.0) * learned.num_updates,
            lag=sum(learned.weights_lags),
            rollouts=len(learned.weights_lags),
            learn_s=learned.learn_s,
            runners_idle_s=sum(rollout.idle_s for rollout in rollouts),
            runners_s=sum(rollout.idle_s + rollout.busy_s for rollout in rollouts),
        )
        self._collector.faults["num_rollouts_lost"] += learned.num_rollouts_lost
        self._collector.log(self.metrics, rollouts)
        of_module = learned.metrics | {
            "num_updates_lifetime": learned.num_updates_lifetime,
            "weights_seq_no": learned.weights_version,
        }
        if learned.num_updates_lifetime:
            of_module["total_loss"] = iteration.per("loss", "updates")
        for name, value in of_module.items():
            self.metrics.log_value((LEARNER_RESULTS, DEFAULT_MODULE_ID, name), value, reduce="item")
        for name, value in {
            "env_steps_per_s": iteration.per("env_steps"),
            "updates_per_s": iteration.per("updates"),
            "weights_lag": iteration.per("lag", "rollouts"),
            "learner_idle_share": 1 - iteration.per("learn_s"),
            "env_runners_idle_share": iteration.per("runners_idle_s", "runners_s"),
        }.items():
            self.metrics.log_value(name, value, reduce="item")

    def get_module(self, module_id: str = DEFAULT_MODULE_ID) -> Any:
        """Return the policy's module with its newest weights: the env runners get them with their requests, the one here does not."""
        module = super().get_module(module_id)
        if module is not None and module_id == DEFAULT_MODULE_ID:
            module.set_state(self._on_learner(policy_weights)[0])
        return module

    def cleanup(self) -> None:
        """Stop all actors, those that hang too."""
        if hasattr(self, "_collector"):
            self._collector.stop_silent()
        super().cleanup()

    def _compile_iteration_results(
        self, *, train_results: dict[str, Any], eval_results: dict[str, Any]
    ) -> dict[str, Any]:
        """Return RLlib's result, with `evaluation` in it only when there was one: RLlib repeats the last, or gives NaN."""
        if not eval_results:
            train_results.pop(EVALUATION_RESULTS, None)
        results: dict[str, Any] = super()._compile_iteration_results(
            train_results=train_results, eval_results=eval_results
        )
        return results

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Return the runners that Ray has brought back. Nothing is sent to them here: the weights come with their next request."""
        restored: list[int] = env_runner_group.probe_unhealthy_env_runners()
        return restored

    # Checkpoints: RLlib's, with the collector's counts, the remote runners' states, and the policy as files for anybody

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> StateDict:
        """Return RLlib's state, and what the collector knows."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(COLLECTOR, components, not_components):
            state[COLLECTOR] = self._collector.state()
        return state

    def set_state(self, state: StateDict) -> None:
        """Go on as `state` says."""
        super().set_state(state)
        if COLLECTOR in state:
            self._collector.set_state(state[COLLECTOR])
        self._collector.broadcast(*self._on_learner(policy_weights))

    def policy_description(self, module: Any, **common: Any) -> PolicyDescription:
        """Return what describes the module's network besides what is `common` to all policies."""
        raise NotImplementedError

    def save_to_path(self, path: Any = None, *args: Any, filesystem: Any = None, **kwargs: Any) -> str:
        """Save everything, and the policy as `policy.safetensors` and `policy.json`. Raises RuntimeError if the learner is lost."""
        if path is not None and filesystem is None:
            filesystem, path = pyarrow.fs.FileSystem.from_uri(
                str(path) if "://" in str(path) else os.path.abspath(path)
            )
        saved: str = super().save_to_path(path, *args, filesystem=filesystem, **kwargs)
        weights, _ = self._on_learner(policy_weights)
        module = self.env_runner_group.local_env_runner.module
        if (
            type(module) is not self.config.module_class
        ):  # another network of the user's: only they know how to build it
            return saved
        env = self.config.env
        description = self.policy_description(
            module,
            env=env if isinstance(env, str) else f"{env.__module__}.{env.__qualname__}",
            env_config=dict(self.config.env_config),
            obs_size=math.prod(module.observation_space.shape),
            fcnet_hiddens=tuple(module.model_config["fcnet_hiddens"]),
            fcnet_activation=module.model_config["fcnet_activation"],
            num_env_steps_sampled_lifetime=self._collector.env_steps,
        )
        tensors = {
            name.partition(".")[2]: torch.from_numpy(weight).clone() for name, weight in weights.items()
        }
        filesystem = filesystem or pyarrow.fs.LocalFileSystem()
        for name, content in description.files(tensors).items():
            with filesystem.open_output_stream(str(PurePath(saved, name))) as file:
                file.write(content)
        return saved

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Go on where a checkpoint was saved. Raises RuntimeError if the learner is lost."""
        local = not kwargs.get("filesystem") and "://" not in str(path)
        super().restore_from_path(os.path.abspath(path) if local else path, *args, **kwargs)
        self._collector.broadcast(*self._on_learner(policy_weights))
