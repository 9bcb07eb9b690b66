"""Where the time of a SHAC update goes: physics, its derivative, the critic.

Every part is compiled on its own, with the presets of `experiments/presets.py`; then they take
turns, and the fastest of several runs counts. Writes training_cost_ENV.json.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import equinox as eqx
import jax

import envs
from experiments import cli, presets
from softsim.learning.rollouts import unroll
from softsim.learning.shac import first_order

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    env: str = "cartpole"
    """name of the environment, or MODULE:CLASS of a task of one's own"""
    out: Path = RESULTS
    """folder of the results"""
    repeats: int = 30
    """runs of each part"""


def seconds(
    parts: dict[str, Callable[[Any], Any]], repeats: int, state: Any
) -> dict[str, tuple[float, float]]:
    """Of every part's first call, compilation included, and of its fastest later one.

    The later calls take turns: a machine shared with other work changes its speed meanwhile.
    """
    compiled = {name: eqx.filter_jit(part) for name, part in parts.items()}

    def once(name: str) -> float:
        begin = time.perf_counter()
        jax.block_until_ready(eqx.filter(compiled[name](state), eqx.is_array))
        return time.perf_counter() - begin

    first = {name: once(name) for name in parts}
    later = [{name: once(name) for name in parts} for _ in range(repeats)]
    return {name: (first[name], min(turn[name] for turn in later)) for name in parts}


def main(args: Args) -> None:
    """Time the parts and write the table."""
    preset = presets.find(args.env)
    config = preset.shac
    env = config.practice(envs.make(args.env, **preset.env), 0)
    state = eqx.filter_jit(config.init)(env, jax.random.PRNGKey(0))
    noise = config.draw(env, state)[2]
    parts: dict[str, Callable[[Any], Any]] = {
        "simulate": lambda s: unroll(env, s.policy, s.env_state, noise, config.limit(env)),
        "simulate and differentiate": lambda s: first_order(config, env, s, s.env_state, noise),
        "whole update": lambda s: config.update(env, s),
    }
    timed = seconds(parts, args.repeats, state)
    steps = config.steps_per_update
    rows = [
        {
            "part": name,
            "first call": f"{first:.1f} s",
            "later calls": f"{1e3 * again:.1f} ms",
            "per environment step": f"{1e6 * again / steps:.1f} us",
            "beside simulate": f"{again / timed['simulate'][1]:.2f}",
        }
        for name, (first, again) in timed.items()
    ]
    out = cli.open_folder(args.out)
    cli.print_table(f"{args.env}: {config.num_envs} environments, {config.horizon} steps", rows)
    cli.write_json(
        out / f"training_cost_{args.env.replace(':', '.')}.json",
        {**cli.provenance(args), "steps_per_update": steps, "parts": rows},
    )


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
