"""Brax's PPO on our environments: the peer of `experiments.train`.

Needs Brax: `pip install 'softsim[brax]'`. Writes returns.csv (the columns of
`experiments.train`; other seeds that it holds are kept) and metrics.json. The physics is that of
`experiments/presets.py`, so that both algorithms learn the same task. Time, of the wall and of the
processor, is that of training alone, the first epoch's compilation included.
"""

import csv
import functools
import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import envs
from experiments import cli, presets


@dataclass(frozen=True)
class Args:
    """Settings of the peer; networks are as wide as SHAC's on the environment."""

    env: str = "cartpole"
    """name of the environment, or MODULE:CLASS of a task of one's own"""
    out: Path = Path("runs/bench/ppo")
    """folder for returns.csv and metrics.json"""
    timesteps: int = 2_000_000
    """environment steps per seed"""
    evals: int = 20
    """the policy is evaluated this many times"""
    seed: int = 0
    """the first random seed"""
    seeds: int = 1
    """trainings, one after the other"""
    num_envs: int = 128
    """environments at once"""
    unroll_length: int = 20
    """steps per environment in a batch"""
    minibatches: int = 8
    """a batch is split into this many parts"""
    epochs: int = 8
    """every batch is passed over this many times"""
    learning_rate: float = 1e-3
    """learning rate of Adam"""
    entropy_cost: float = 1e-2
    """weight of the entropy bonus"""
    discount: float = 0.98
    """a reward one step later counts this much less, as a factor"""
    reward_scaling: float = 1.0
    """rewards are multiplied by this before PPO sees them"""


@dataclass
class Clock:
    """Time of the wall and of the processor between `start` and `stop`, added up."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    began: tuple[float, float] | None = None

    def start(self) -> None:
        """Begin an interval."""
        self.began = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        """End the interval, if one has begun."""
        if self.began is not None:
            self.seconds += time.perf_counter() - self.began[0]
            self.cpu_seconds += time.process_time() - self.began[1]
        self.began = None


def train(args: Args, env: envs.Env, hidden: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """Rows of returns.csv of one seed."""
    from brax.training.agents.ppo import networks
    from brax.training.agents.ppo import train as ppo

    from envs.brax_adapter import BraxEnv

    rows: list[dict[str, Any]] = []
    clock = Clock()

    def progress(steps: int, metrics: dict[str, Any]) -> None:
        rows.append(
            {
                "iteration": len(rows),
                "env_steps": int(steps),
                "seconds": round(clock.seconds, 3),
                "cpu_seconds": round(clock.cpu_seconds, 3),
                "seed": seed,
                "return": float(metrics["eval/episode_reward"]),
                "return_std": float(metrics["eval/episode_reward_std"]),
                "length": float(metrics["eval/avg_episode_length"]),
            }
        )
        print(
            f"seed {seed}: {steps} steps, return {rows[-1]['return']:.1f}, "
            f"{clock.cpu_seconds:.0f} s of the processor",
            flush=True,
        )
        clock.start()

    ppo.train(
        BraxEnv(env),
        num_timesteps=args.timesteps,
        episode_length=env.episode_length,
        num_envs=args.num_envs,
        num_eval_envs=32,
        num_evals=args.evals,
        unroll_length=args.unroll_length,
        batch_size=args.num_envs // args.minibatches,
        num_minibatches=args.minibatches,
        num_updates_per_batch=args.epochs,
        network_factory=functools.partial(
            networks.make_ppo_networks,
            policy_hidden_layer_sizes=hidden,
            value_hidden_layer_sizes=hidden,
        ),
        learning_rate=args.learning_rate,
        entropy_cost=args.entropy_cost,
        discounting=args.discount,
        reward_scaling=args.reward_scaling,
        normalize_observations=True,
        deterministic_eval=True,
        seed=seed,
        progress_fn=progress,
        # called between an epoch and its evaluation, and once before the first epoch
        policy_params_fn=lambda steps, *_: clock.stop() if steps else None,
    )
    return rows


def earlier(path: Path) -> list[dict[str, Any]]:
    """Rows that runs of other seeds left in the folder."""
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    whole = ("iteration", "env_steps", "seed")
    return [{k: int(v) if k in whole else float(v) for k, v in row.items()} for row in rows]


def main(args: Args) -> None:
    """Train every seed and write the tables."""
    if importlib.util.find_spec("brax") is None:
        raise ValueError("the peer is Brax's PPO: pip install 'softsim[brax]'")
    preset = presets.find(args.env)
    out = cli.open_folder(args.out)
    env = envs.make(args.env, **preset.env)
    seeds = range(args.seed, args.seed + args.seeds)
    rows = [row for row in earlier(out / "returns.csv") if row["seed"] not in seeds]
    for seed in seeds:
        rows += train(args, env, preset.shac.hidden, seed)
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        cli.write_csv(out / "returns.csv", columns)
        done = {row["seed"] for row in rows}
        best = [max(row["return"] for row in rows if row["seed"] == s) for s in done]
        cli.write_json(
            out / "metrics.json", {**cli.provenance(args), "best_return": float(np.mean(best))}
        )


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
