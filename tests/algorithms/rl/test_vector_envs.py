"""Environments that step together: how they are made, what is refused by name, and what a seed does."""

import re
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.utils.spaces.space_utils import unsquash_action

from algorithms.rl.vector_envs import (
    as_creator,
    make_one,
    make_vector_env,
    require_discrete_actions,
    require_discrete_or_box_actions,
    require_vector_obs,
    reset,
    to_env_actions,
)

INF = float("inf")


class Corridor(gym.Env[np.ndarray, int]):
    """Walk right; it shows where one is, and begins anywhere."""

    observation_space = Box(0, 1, (1,), np.float32)
    action_space = Discrete(2)

    def __init__(self, env_config: dict[str, Any]) -> None:
        self.length = env_config.get("length", 3)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self.np_random.random(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return np.ones(1, np.float32), 1.0, self._steps == self.length, False, {}


class Broken(gym.Env[np.ndarray, int]):
    """Can't be made."""

    def __init__(self, env_config: dict[str, Any]) -> None:
        raise OSError("no such file:\n  level.dat")


def corridor(env_config: dict[str, Any]) -> gym.Env[np.ndarray, int]:
    return Corridor(env_config)


def nothing(env_config: dict[str, Any]) -> None:
    return None


def raises(**kwargs: Any) -> None:
    raise RuntimeError("no\ndisplay")


@pytest.fixture
def register() -> Iterator[Callable[[Any], str]]:
    """Registers a vector version, and returns its Gymnasium id; forgets it after the test."""

    def register(vector_entry_point: Any) -> str:
        gym.register("Test/Own-v0", entry_point=CartPoleEnv, vector_entry_point=vector_entry_point)
        return "Test/Own-v0"

    yield register
    gym.registry.pop("Test/Own-v0", None)


@pytest.mark.parametrize(
    ("env", "kind", "single"),
    [
        ("CartPole-v1", CartPoleVectorEnv, None),
        ("Acrobot-v1", SyncVectorEnv, AcrobotEnv),
        (Corridor, SyncVectorEnv, Corridor),
        (corridor, SyncVectorEnv, Corridor),
        (lambda env_config: Corridor(env_config), SyncVectorEnv, Corridor),
        (f"{__name__}.Corridor", SyncVectorEnv, Corridor),
        (f"{__name__}.corridor", SyncVectorEnv, Corridor),
    ],
)
def test_gymnasiums_own_vector_version_is_used_where_there_is_one(
    env: Any, kind: type, single: type | None
) -> None:
    envs = make_vector_env(env, {}, 3)
    try:
        assert type(envs.unwrapped) is kind
        assert envs.num_envs == 3
        assert envs.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
        if single is not None:
            assert isinstance(envs, SyncVectorEnv)
            assert [type(one.unwrapped) for one in envs.envs] == [single] * 3
            assert len(set(map(id, envs.envs))) == 3
        made = make_one(env, {})
        assert made.observation_space == envs.single_observation_space
        assert made.action_space == envs.single_action_space
        made.close()
    finally:
        envs.close()


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", Corridor])
def test_env_config_reaches_every_environment(env: Any) -> None:
    """CartPole pays 0 per step and not 1, Acrobot and the corridor end after one step, where these say so."""
    change = {
        "CartPole-v1": {"sutton_barto_reward": True},
        "Acrobot-v1": {"max_episode_steps": 1},
        Corridor: {"length": 1},
    }[env]
    told = []
    for env_config in ({}, change):
        envs = make_vector_env(env, env_config, 2)
        reset(envs, np.random.default_rng(0))
        _, rewards, terminated, truncated, _ = envs.step(np.zeros(2, np.int64))
        told.append((rewards.tolist(), (terminated | truncated).tolist()))
        envs.close()
    assert told[0] != told[1]
    assert [len(set(map(str, values))) for values in told[1]] == [1, 1]  # both environments


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", Corridor])
def test_the_step_after_an_end_is_a_reset(env: Any) -> None:
    """It ignores the action, has reward 0, ends nothing, and shows a new episode's beginning."""
    envs = make_vector_env(env, {"max_episode_steps": 30} if env == "Acrobot-v1" else {}, 4)
    rng = np.random.default_rng(0)
    begins = {
        "CartPole-v1": lambda obs: np.abs(obs) <= 0.05,
        "Acrobot-v1": lambda obs: np.abs(obs[:, [1, 3, 4, 5]]) <= 0.1,
        Corridor: lambda obs: obs < 1,
    }
    obs, done, num_resets = reset(envs, rng), np.zeros(4, bool), 0
    assert begins[env](obs).all()
    for _ in range(70):
        obs, rewards, terminated, truncated, _ = envs.step(rng.integers(2, size=4))
        assert (rewards[done] == 0).all()
        assert not (terminated | truncated)[done].any()
        assert begins[env](obs)[done].all()
        num_resets += done.sum()
        done = terminated | truncated
        assert (
            not begins[env](obs)[done].all(axis=1).any()
        )  # the last of an episode is shown, and is not the next one's first
    assert num_resets >= 4
    envs.close()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (
            "CartPool-v1",
            "env 'CartPool-v1' is no environment that Gymnasium knows, nor registered with ray.tune",
        ),
        ("CartPole-v99", "env 'CartPole-v99' is no environment that Gymnasium knows"),
        ("", "env '' is no environment"),
        ("my game", "env 'my game' is no environment"),
        ("no_such_module.Env", "env 'no_such_module.Env' is no environment"),
        ("no_such_module:Env-v0", "env 'no_such_module:Env-v0' is no environment"),
        (f"{__name__}.NoSuchClass", "NoSuchClass' is no environment"),
        (Broken, "env 'Broken' can't be made: OSError: no such file: level.dat"),
        (f"{__name__}.Broken", "Broken' can't be made: OSError: no such file: level.dat"),
        (nothing, "env 'nothing' must make a gymnasium.Env, not a NoneType"),
        (dict, "env 'dict' must make a gymnasium.Env, not a dict"),
        (
            "collections.OrderedDict",
            "env 'collections.OrderedDict' must make a gymnasium.Env, not a OrderedDict",
        ),
        ("math.pi", "env 'math.pi' can't be made: TypeError"),
        (
            lambda env_config: make_vector_env("CartPole-v1", {}, 1),
            "must make a gymnasium.Env, not a CartPoleVectorEnv",
        ),
    ],
)
def test_what_makes_no_environment_is_refused_by_its_name(env: Any, message: str) -> None:
    for make in (lambda: make_one(env, {}), lambda: make_vector_env(env, {}, 2)):
        with pytest.raises(ValueError, match=re.escape(message)) as refused:
            make()
        assert "\n" not in str(refused.value)


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # of Gymnasium's CartPoleVectorEnv, half made
@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1"])
def test_an_env_config_that_it_does_not_take_is_refused(env: str) -> None:
    for make in (lambda: make_one(env, {"gravitty": 1}), lambda: make_vector_env(env, {"gravitty": 1}, 2)):
        with pytest.raises(ValueError, match=rf"env '{env}' can't be made: .*gravitty"):
            make()


@pytest.mark.filterwarnings("ignore:.*missing AutoresetMode")  # Gymnasium's own word for the last of them
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.DISABLED, None], ids=str)
def test_a_vector_version_that_resets_itself_otherwise_is_refused_and_closed(
    register: Callable[[Any], str], mode: AutoresetMode | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[CartPoleVectorEnv] = []
    closed: list[bool] = []

    def otherwise(**kwargs: Any) -> CartPoleVectorEnv:
        made.append(CartPoleVectorEnv(**kwargs))
        monkeypatch.setattr(made[0], "metadata", {"autoreset_mode": mode} if mode else {})
        monkeypatch.setattr(made[0], "close", lambda: closed.append(True))
        return made[0]

    message = f"must reset itself on the next step (metadata autoreset_mode NEXT_STEP), not {mode}"
    with pytest.raises(ValueError, match=re.escape(f"env 'Test/Own-v0' {message}")):
        make_vector_env(register(otherwise), {}, 2)
    assert closed == [True]


def test_a_vector_version_that_can_not_be_made_is_refused(register: Callable[[Any], str]) -> None:
    with pytest.raises(
        ValueError, match=re.escape("env 'Test/Own-v0' can't be made: RuntimeError: no display")
    ):
        make_vector_env(register(raises), {}, 2)


def test_a_creator_is_handed_on_and_a_gymnasium_id_stays_one() -> None:
    assert as_creator(corridor) is corridor
    assert as_creator(Corridor) is Corridor
    assert as_creator(f"{__name__}.Corridor") is Corridor
    assert as_creator("CartPole-v1") == "CartPole-v1"


@pytest.mark.parametrize(
    "space",
    [Box(-1, 1, (2,)), Discrete(3, start=1), MultiDiscrete([2, 2]), gym.spaces.MultiBinary(2)],
    ids=str,
)
def test_actions_other_than_0_to_n_are_refused(space: gym.Space[Any]) -> None:
    with pytest.raises(
        ValueError, match=re.escape(f"env 'Corridor' must have discrete actions from 0 on, not {space}")
    ):
        require_discrete_actions(Corridor, space)
    require_discrete_actions("CartPole-v1", Discrete(2))


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3, start=1),
        MultiDiscrete([2, 2]),
        gym.spaces.MultiBinary(2),
        Box(-1, 1, ()),
        Box(-1, 1, (2, 2)),
        Box(0, 9, (2,), np.int64),
        Box(0, 255, (2,), np.uint8),
        gym.spaces.Dict(a=Box(-1, 1)),
    ],
    ids=str,
)
def test_actions_that_are_neither_0_to_n_nor_vectors_of_real_numbers_are_refused(
    space: gym.Space[Any],
) -> None:
    with pytest.raises(ValueError) as refused:
        require_discrete_or_box_actions(Corridor, space)
    assert (
        str(refused.value)
        == f"env 'Corridor' must have discrete actions from 0 on, or vectors of real numbers, not {space}"
    )


@pytest.mark.parametrize(
    "space", [Discrete(1), Discrete(5), Box(-1, 1, (2,)), Box(-INF, INF, (1,), np.float64)], ids=str
)
def test_actions_that_are_0_to_n_or_vectors_of_real_numbers_are_taken(space: gym.Space[Any]) -> None:
    require_discrete_or_box_actions("Some-v0", space)


def env_actions(space: gym.Space[Any], actions: Any) -> np.ndarray:
    """Return what the environment is given for these of a policy."""
    convert = to_env_actions(space)
    assert convert is not None
    return convert(np.array(actions, space.dtype))


def test_minus_1_to_1_stand_for_the_bounds() -> None:
    """In [-2, 2] and in [0, 10]: the bounds, the middle, and 3/4 and 1/4 of the way."""
    space = Box(np.array([-2, 0], np.float32), np.array([2, 10], np.float32))
    given = [[-1, -1], [1, 1], [0, 0], [0.5, -0.5]]
    assert env_actions(space, given).tolist() == [[-2, 0], [2, 10], [0, 5], [1, 2.5]]


def test_what_is_beyond_them_is_clipped() -> None:
    assert env_actions(Box(-2, 6, (2,)), [[-1.5, 7.0], [INF, -INF]]).tolist() == [[-2, 6], [6, -2]]


def test_a_number_without_both_bounds_is_only_clipped() -> None:
    space = Box(np.array([-2, -INF, -INF, 0], np.float32), np.array([2, INF, 1, INF], np.float32))
    assert env_actions(space, [[3, 30, 300, -3000], [0.5, 0.5, 0.5, 0.5]]).tolist() == [
        [2, 30, 1, 0],
        [1, 0.5, 0.5, 0.5],
    ]


def test_discrete_actions_are_the_environments_own() -> None:
    assert to_env_actions(Discrete(3)) is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_environment_is_given_numbers_of_its_dtype_and_the_policys_stay(dtype: type) -> None:
    space = Box(-3, 3, (2,), dtype)
    convert, actions = to_env_actions(space), np.array([[0.5, -2.0]], np.float32)
    assert convert is not None
    assert convert(actions).dtype == dtype
    assert convert(actions).tolist() == [[1.5, -3.0]]
    assert actions.tolist() == [[0.5, -2.0]]


BOUNDS = st.floats(-1000, 1000, width=32)


@settings(deadline=None)
@given(low=BOUNDS, high=BOUNDS, actions=st.lists(st.floats(-2, 2, width=32), min_size=3, max_size=3))
def test_actions_are_those_that_rllib_would_pass_on(low: float, high: float, actions: list[float]) -> None:
    space = Box(min(low, high), max(low, high), (3,))
    theirs = unsquash_action(np.array(actions, np.float32), space)
    np.testing.assert_allclose(env_actions(space, [actions])[0], theirs, rtol=1e-5, atol=1e-3)


@settings(deadline=None)
@given(low=BOUNDS, high=BOUNDS)
def test_no_action_is_out_of_bounds_by_rounding(low: float, high: float) -> None:
    """Environments may assert that: Box(-0.4, 0.7) gets 0.70000005."""
    space = Box(min(low, high), max(low, high), (2,))
    assert space.contains(env_actions(space, [[-1, 1]])[0])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            Box(0, 255, (84, 84, 3), np.uint8),
            "env 'Pixels-v0' has observations of shape (84, 84, 3), like images",
        ),
        (Discrete(5), "env 'Pixels-v0' must have observations of a Box, not Discrete(5)"),
        (gym.spaces.Dict(a=Box(0, 1)), "env 'Pixels-v0' must have observations of a Box, not Dict"),
        (gym.spaces.Tuple([Box(0, 1)]), "env 'Pixels-v0' must have observations of a Box, not Tuple"),
    ],
)
def test_observations_that_are_no_vectors_are_refused(space: gym.Space[Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        require_vector_obs("Pixels-v0", space)
    for vector in (Box(-1, 1, (4,)), Box(0, 255, (2, 128), np.uint8), Box(-1, 1, ())):
        require_vector_obs("Vectors-v0", vector)


@pytest.mark.parametrize("env", ["CartPole-v1", "Acrobot-v1", Corridor])
def test_a_seed_starts_the_same_episodes_and_no_two_environments_start_alike(env: Any) -> None:
    starts = []
    for seed in (0, 0, 1):
        envs, rng = make_vector_env(env, {}, 16), np.random.default_rng(seed)
        starts += [reset(envs, rng), reset(envs, rng)]
        envs.close()
    assert np.array_equal(starts[0], starts[2])
    assert np.array_equal(starts[1], starts[3])
    different = np.concatenate([starts[0], starts[1], starts[4], starts[5]])  # two resets by each of two rngs
    assert len(np.unique(different, axis=0)) == len(different) == 64
