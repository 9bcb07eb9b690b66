"""The settings of training, environment by environment: the one place for defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import envs
from softsim.learning import Apg, Shac, Softness

ALGORITHMS = ("shac", "apg")


@dataclass(frozen=True)
class Preset:
    """How an environment is made, and what each algorithm does on it."""

    env: Mapping[str, Any] = field(default_factory=dict)
    """settings of `envs.make`"""
    shac: Shac = field(default_factory=Shac)
    apg: Apg = field(default_factory=Apg)

    def algorithm(self, name: str) -> Shac | Apg:
        """The settings of an algorithm by its name."""
        return getattr(self, name)

    def published(self) -> dict[str, Any] | None:
        """The settings without those of faster physics; None if there is none."""
        faster = ("options", "geoms", "touching", "frame_skip", "contact_cost")
        plain = {k: v for k, v in self.env.items() if k not in faster}
        return None if plain == self.env else plain


# Physics that trains faster than the published one: Euler-type steps of 4 ms for RK4 of 2 ms.
# The final scores are taken on the published model too.
FAST = {"options": {"integrator": "implicitfast", "timestep": 0.004}, "frame_skip": 2}
# The ant's contacts are as stiff as a step of 10 ms of RK4 allows; with one stage a step it bounces
# off the floor, higher than it may, where more damping (at 12.5 ms) keeps its feet down.
FAST_ANT = {
    "options": {"integrator": "implicitfast", "timestep": 0.0125},
    "geoms": {"solref": (0.03, 2.5)},  # s, 1
    "frame_skip": 4,
    "observe_contacts": False,
    "contact_cost": 0.0,
}
# A humanoid that stands on more than its feet is lower than it may be.
FAST_HUMANOID = {
    "options": {"integrator": "implicitfast", "timestep": 0.0075},
    "touching": ("floor", "left_foot", "right_foot"),
    "frame_skip": 2,
    "observe_bodies": False,
    "contact_cost": 0.0,
}
# Few environments and large steps: on a CPU, many small updates learn more per second than few
# good ones.
quick = partial(Shac, num_envs=16, actor_rate=0.02, critic_rate=5e-3, critic_epochs=4)
# Four steps ahead: over 16, the gradients of different ants hardly agree.
# Noise enough to leave a slow gait, where one half_cheetah of three stayed with 0.1; short
# episodes, because a robot on its back would teach for the rest of a long one; no derivative counts
# for much more than others, because none is about falling.
legged = partial(
    quick,
    num_envs=64,
    horizon=4,
    hidden=(128, 64, 32),
    discount=0.99,
    init_std=0.25,
    episode=150,
    actor_rate=2e-3,
    critic_rate=2e-3,
    outlier=3.0,
    averaging=0.95,
)
# Half a second ahead, and gently: large steps saturate the actions of a first great leap.
hopping = partial(
    quick, horizon=64, discount=0.995, init_std=0.5, actor_rate=1e-3, critic_rate=2e-3
)
NEAR, FAR = (Softness("straight_through", reach=reach) for reach in (0.02, 0.05))  # m


def throw(reach: float) -> Preset:
    """Episodes of one action, whose contacts are felt from `reach` m."""
    common: dict[str, Any] = {"horizon": 1, "num_envs": 32, "iterations": 300, "init_std": 0.2}
    common["softness"] = Softness("straight_through", reach=reach)
    return Preset(shac=Shac(**common), apg=Apg(**common))


PRESETS: dict[str, Preset] = {
    "pendulum": Preset(shac=Shac(iterations=200), apg=Apg(horizon=200, truncate=50)),
    "cartpole": Preset(
        shac=quick(iterations=400, discount=0.98), apg=Apg(horizon=240, truncate=60)
    ),
    "ball_toss": throw(reach=0.0),
    "cube_toss": throw(reach=0.01),
    "billiard": throw(reach=0.1),
    "planar_push": Preset(
        shac=quick(iterations=200, actor_rate=2e-3, critic_rate=1e-3, softness=NEAR),
        apg=Apg(softness=NEAR),
    ),
    "finger_turn": Preset(shac=Shac(softness=FAR), apg=Apg(softness=FAR)),
    "hopper": Preset(FAST, hopping(iterations=500, averaging=0.98)),
    # with the hopper's noise it takes twice the steps and is not as fast in the end
    "walker2d": Preset(
        FAST,
        hopping(iterations=600, init_std=0.2, averaging=0.95, outlier=10.0, final_norm=30.0),
    ),
    "half_cheetah": Preset(shac=legged(iterations=2000), apg=Apg(hidden=(128, 64, 32))),
    "ant": Preset(
        FAST_ANT,
        legged(iterations=1000),
        Apg(hidden=(128, 64, 32)),
    ),
    "humanoid": Preset(
        FAST_HUMANOID,
        hopping(
            iterations=1000,
            horizon=32,
            hidden=(128, 64, 32),
            discount=0.99,
            init_std=0.25,
            averaging=0.99,
            outlier=10.0,
            final_norm=30.0,
        ),
        Apg(hidden=(256, 128)),
    ),
    # nobody has trained it yet: guesses
    "barkour": Preset(
        shac=Shac(iterations=1500, hidden=(128, 64, 32)),
        apg=Apg(iterations=1500, hidden=(128, 64, 32)),
    ),
}


def find(env: str) -> Preset:
    """The preset of an environment; a task of your own has the defaults of every class.

    Raises:
        ValueError: no such environment; lists those there are.
    """
    envs.find(env)
    return PRESETS.get(env, Preset())


def chosen(argv: Sequence[str]) -> tuple[list[str], str, str]:
    """What a command line asks for: its words, environment and algorithm (by default SHAC).

    `--algo NAME` among the words is another way to say the sub-command NAME.

    Raises:
        ValueError: no such algorithm; lists those there are.
    """
    words = list(argv)
    if "--algo" in words[:-1]:
        at = words.index("--algo")
        name = words[at + 1]
        if name not in ALGORITHMS:
            raise ValueError(f"--algo {name}: there are {', '.join(ALGORITHMS)}")
        words = [name, *words[:at], *words[at + 2 :]]
    pairs = [tuple(word.split("=", 1)) for word in words if "=" in word]
    pairs += zip(["", *words], words)
    env = next((value for flag, value in pairs if flag == "--env"), "cartpole")
    names = [word for flag, word in pairs if word in ALGORITHMS and flag not in ("--env", "--out")]
    return words, env, (names or ["shac"])[0]
