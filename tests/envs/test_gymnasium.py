"""The v5 environments against Gymnasium's own, stepped by MuJoCo C from the same states."""

import gymnasium
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import envs

IDS = {
    "hopper": "Hopper-v5",
    "walker2d": "Walker2d-v5",
    "half_cheetah": "HalfCheetah-v5",
    "ant": "Ant-v5",
    "humanoid": "Humanoid-v5",
}
STATES = 8
SLOW = pytest.mark.slow
CASES = [pytest.param(n, marks=() if n == "half_cheetah" else SLOW) for n in IDS]


# Of an ankle that stands, MJX lays the friction pyramid along other axes than MuJoCo C (see
# docs/supported.md): an elliptic cone has no axes.
OPTIONS = {"ant": {"cone": "elliptic", "tolerance": 1e-12}}


def reference(name: str, env: envs.Env) -> gymnasium.Env:
    """Gymnasium's environment. Two models are replaced by ours: MJX has neither the humanoid's PGS,
    nor is it asked to resolve 120 pairs of its own geoms, and the ant has other `OPTIONS`."""
    theirs = gymnasium.make(IDS[name]).unwrapped
    if name in ("ant", "humanoid"):
        theirs.model = env.mj_model
        theirs.data = mujoco.MjData(env.mj_model)
    return theirs


def states(theirs: gymnasium.Env) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions and velocities along episodes of random actions, and an action for each."""
    rng = np.random.default_rng(0)
    low, high = theirs.action_space.low, theirs.action_space.high
    found = []
    for episode in range(STATES):
        theirs.reset(seed=episode)
        for _ in range(2 + 3 * episode):
            theirs.step(rng.uniform(low, high))
        action = rng.uniform(low, high).astype(np.float32).astype(float)
        found.append((theirs.data.qpos.copy(), theirs.data.qvel.copy(), action))
    return found


@pytest.mark.parametrize("name", CASES)
def test_observation_and_reward_are_those_of_gymnasium(name: str) -> None:
    env = envs.make(name, options=OPTIONS.get(name))
    theirs = reference(name, env)
    cases = states(theirs)
    qpos, qvel, action = (jnp.array(x) for x in zip(*cases))
    scale = env.mj_model.actuator_ctrlrange[:, 1]

    def one(qpos, qvel, action):
        state = env.reset(jax.random.key(0))
        data = env.finish(state.data.replace(qpos=qpos, qvel=qvel))
        return env.step(state.replace(data=data), action)

    ours = jax.jit(jax.vmap(one))(qpos, qvel, action / scale)
    exact = env.model.nq + env.model.nv - (2 if name in ("ant", "humanoid") else 1)
    # what Gymnasium reads from the last stage of RK4, not from the new state
    stale = name in ("ant", "humanoid")
    for i, (q, v, u) in enumerate(cases):
        theirs.set_state(q, v)
        obs, reward, terminated, _, info = theirs.step(u)
        np.testing.assert_allclose(ours.obs[i, :exact], obs[:exact], atol=1e-6, rtol=1e-6)
        np.testing.assert_allclose(ours.reward[i], reward, atol=0.02 if stale else 1e-6)
        assert bool(ours.done[i]) == terminated
        for ours_name, theirs_name in (("ctrl", "reward_ctrl"), ("survive", "reward_survive")):
            if theirs_name in info:
                np.testing.assert_allclose(ours.metrics[ours_name][i], info[theirs_name], atol=1e-9)
        if stale:
            mujoco.mj_forward(theirs.model, theirs.data)
            mujoco.mj_rnePostConstraint(theirs.model, theirs.data)
            fresh = theirs._get_obs()
            np.testing.assert_allclose(ours.obs[i], fresh, atol=1e-4, rtol=1e-4)


BODIES = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
BARE = {"ant": ("observe_contacts", BODIES[3:]), "humanoid": ("observe_bodies", BODIES)}


@pytest.mark.parametrize(("name", "bare"), [*((n, False) for n in IDS), *((n, True) for n in BARE)])
def test_sizes_and_start(name: str, bare: bool) -> None:
    ours, parts = BARE[name] if bare else ("", ())
    env = envs.make(name, **({ours: False} if bare else {}))
    theirs = gymnasium.make(IDS[name], **{f"include_{p}_in_observation": False for p in parts})
    assert env.observation_size == theirs.observation_space.shape[0]
    assert env.action_size == theirs.action_space.shape[0]
    np.testing.assert_allclose(env.dt, theirs.unwrapped.dt)
    assert env.episode_length == theirs.spec.max_episode_steps


def test_without_gymnasium_the_message_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("envs.gymnasium_models.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"hopper.xml.*pip install 'softsim\[envs\]'"):
        envs.make("hopper")
