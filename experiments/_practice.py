"""The environment that an update sees: softened, its model randomised, its episodes cut short."""

from dataclasses import replace

import softsim
from envs import Env, scale

Randomize = tuple[tuple[str, float], ...]


def practice(
    env: Env, softening: softsim.Softening, randomize: Randomize, longest: int | None = None
) -> Env:
    """`env` for training.

    Args:
        randomize: leaf of the model and share: every entry is multiplied by its own factor, uniform
            in 1 - share to 1 + share, afresh for every episode.
        longest: steps after which an episode is cut short; `None`: as long as it is.

    Raises:
        ValueError: no such leaf; lists those there are.
    """
    env = env.with_softening(softening)
    if randomize:
        draws = {leaf: scale(1.0 - share, 1.0 + share) for leaf, share in randomize}
        env = env.with_randomization(draws)
    return replace(env, episode_length=min(longest or env.episode_length, env.episode_length))


def check_randomize(randomize: Randomize) -> None:
    """Refuse shares that would turn a sign or change nothing."""
    for leaf, share in randomize:
        if not 0 < share < 1:
            raise ValueError(f"--randomize {leaf} {share}: expected a share between 0 and 1")
