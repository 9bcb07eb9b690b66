"""The settings of training, environment by environment: the one place for defaults."""

from typing import Any

import envs

# Physics that trains faster than the published one: Euler-type steps of 4 ms for RK4 of 2 ms.
# The final scores are taken on the published model too.
FAST = {"options": {"integrator": "implicitfast", "timestep": 0.004}, "frame_skip": 2}
FAST_ANT = {
    "options": {"integrator": "implicitfast", "timestep": 0.01},
    "observe_contacts": False,
}
TOSS: dict[str, Any] = {"horizon": 1, "num_envs": 32, "iterations": 300, "init_std": 0.2}
# Few environments and large steps: on a CPU, many small updates learn more per second than few
# good ones.
QUICK: dict[str, Any] = {
    "num_envs": 16,
    "actor_rate": 0.02,
    "critic_rate": 5e-3,
    "critic_epochs": 4,
}
LOCOMOTION: dict[str, Any] = {"hidden": (128, 64, 32), "iterations": 1500}

# environment: settings of the environment, of every algorithm, of SHAC, of APG
DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "pendulum": {"shac": {"iterations": 200}, "apg": {"horizon": 200, "truncate": 50}},
    "cartpole": {
        "shac": QUICK | {"iterations": 400, "discount": 0.98},
        "apg": {"horizon": 240, "truncate": 60},
    },
    "ball_toss": {"all": TOSS, "softness": {"preset": "straight_through", "reach": 0.0}},
    "cube_toss": {"all": TOSS, "softness": {"preset": "straight_through", "reach": 0.01}},
    "billiard": {"all": TOSS, "softness": {"preset": "straight_through", "reach": 0.1}},
    "planar_push": {
        "shac": QUICK | {"iterations": 200, "actor_rate": 0.01},
        "softness": {"preset": "straight_through", "reach": 0.02},
    },
    "finger_turn": {"softness": {"preset": "straight_through", "reach": 0.05}},
    "hopper": {
        "env": FAST,
        "all": {"hidden": (64, 64)},
        # half a second ahead, and gently: large steps saturate the actions of a first great leap
        "shac": QUICK
        | {
            "iterations": 400,
            "horizon": 64,
            "actor_rate": 1e-3,
            "critic_rate": 2e-3,
            "discount": 0.995,
            "init_std": 0.5,
        },
    },
    "walker2d": {"env": FAST, "all": LOCOMOTION},
    "half_cheetah": {
        "all": {"hidden": (128, 64, 32)},
        # few steps ahead and little noise, which costs more here than it explores; short
        # episodes, because a robot on its back would teach for the rest of a long one
        "shac": QUICK
        | {
            "iterations": 1200,
            "num_envs": 64,
            "horizon": 4,
            "actor_rate": 1e-3,
            "discount": 0.95,
            "init_std": 0.1,
            "episode": 150,
        },
    },
    "ant": {
        "env": FAST_ANT,
        "all": {"hidden": (128, 64, 32)},
        # four steps ahead: over 16, the gradients of different environments hardly agree
        "shac": QUICK
        | {
            "iterations": 1400,
            "num_envs": 64,
            "horizon": 4,
            "actor_rate": 1e-3,
            "discount": 0.97,
            "init_std": 0.2,
            "episode": 100,
        },
    },
    "humanoid": {
        "env": {"options": {"integrator": "implicitfast"}},
        "all": LOCOMOTION | {"hidden": (256, 128)},
    },
    "barkour": {"all": LOCOMOTION},
}


def defaults(env: str, algo: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Settings of an environment, of an algorithm on it, and of its softness.

    A task that is not in the table gets the defaults of its class and of the algorithm.

    Raises:
        ValueError: no such environment; lists those there are.
    """
    if ":" not in env and env not in envs.names():
        there = f"{', '.join(envs.names())}; a task of your own is MODULE:CLASS"
        raise ValueError(f"--env {env}: there are {there}")
    envs.find(env)
    table = DEFAULTS.get(env, {})
    own = table.get("all", {}) | table.get(algo, {})
    return table.get("env", {}), own, table.get("softness", {})
