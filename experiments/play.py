"""Play policies in Gymnasium's own environments: MuJoCo C alone, nothing of ours but the policy.

    python -m experiments.play --env Hopper-v5 --policies experiments/results/policies/hopper.npz

A policy that was trained on one of Gymnasium's tasks takes its observations as they are; its
actions, in (-1, 1), are scaled to Gymnasium's. Prints the mean return and length of some episodes;
with --out, a table of them too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import jax
import numpy as np
from jaxtyping import Float

from experiments import cli
from softsim import learning


@dataclass(frozen=True)
class Args:
    """Settings of a play."""

    env: str = "Hopper-v5"
    """Gymnasium's name of the environment"""
    options: Mapping[str, bool] = field(default_factory=dict)
    """what `gymnasium.make` is told, such as `include_cfrc_ext_in_observation False` for policies
    that are not told the contact forces"""
    policies: Sequence[Path] = field(default=())
    """files that `softsim train` or `Policy.save` wrote"""
    episodes: int = 10
    """every policy plays this many episodes; at least 1"""
    seed: int = 1000
    """of the first episode; those of the others follow"""
    out: Path | None = None
    """a CSV file for all returns and lengths"""


def play(
    env: str, policy: learning.Policy, seeds: Sequence[int], **options: bool
) -> Float[np.ndarray, "N 2"]:
    """Return and length of an episode from every seed, by the most likely actions."""
    expected = (policy.observation_size,)
    results = []
    with gymnasium.make(env, **options) as task:
        seen = task.observation_space.shape
        if seen != expected:
            raise ValueError(f"--env {env}: observes {seen}, the policy expects {expected}")
        assert isinstance(task.action_space, gymnasium.spaces.Box)
        low, high = task.action_space.low, task.action_space.high
        act = jax.jit(lambda obs: (low + high) / 2 + (high - low) / 2 * policy(obs))
        for seed in seeds:
            obs, _ = task.reset(seed=seed)
            total, length, done = 0.0, 0, False
            while not done:
                obs, reward, failed, over, _ = task.step(np.asarray(act(obs.astype(np.float32))))
                total, length, done = total + float(reward), length + 1, failed or over
            results.append((total, length))
    return np.array(results)


def main(args: Args) -> None:
    """Play every policy."""
    if args.episodes < 1:
        raise ValueError(f"--episodes: got {args.episodes}, expected at least 1")
    if not args.policies:
        raise ValueError("--policies: name at least one file that `softsim train` wrote")
    seeds = range(args.seed, args.seed + args.episodes)
    rows, table = [], []
    for path in args.policies:
        played = play(args.env, learning.load_policy(path), seeds, **args.options)
        rows += [(path.name, s, *row) for s, row in zip(seeds, played)]
        mean, std, length = played[:, 0].mean(), played[:, 0].std(), played[:, 1].mean()
        shown = {"return": f"{mean:.1f} +- {std:.1f}", "length": f"{length:.0f}"}
        table.append({"policy": path.name} | shown)
    cli.print_table(f"{args.env}, {args.episodes} episodes each", table)
    if args.out is not None:
        names = ("policy", "seed", "return", "length")
        cli.write_csv(args.out, dict(zip(names, zip(*rows))))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
