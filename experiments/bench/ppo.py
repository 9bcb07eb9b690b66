"""Brax's PPO on our environments: the peer of `experiments.train`.

Needs an environment with `brax` installed beside softsim. Writes returns.csv (the columns of
`experiments.train`) and metrics.json. The physics is that of `experiments/_presets.py`, so that
both algorithms learn the same task; time excludes evaluations, and compilation is told apart.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import envs
from experiments import _run
from experiments._presets import defaults


@dataclass(frozen=True)
class Args:
    """Settings of the peer; those of PPO are Brax's own for its small tasks."""

    env: str = "cartpole"
    """environment"""
    out: Path = Path("runs/bench/ppo")
    """folder for returns.csv and metrics.json"""
    timesteps: int = 2_000_000
    """environment steps per seed"""
    evals: int = 20
    """evaluations"""
    seed: int = 0
    """the first random seed"""
    seeds: int = 1
    """trainings, one after the other"""
    num_envs: int = 256
    """environments at once"""
    unroll_length: int = 20
    """steps per environment in a batch"""
    learning_rate: float = 3e-4
    """of Adam"""
    entropy_cost: float = 1e-2
    """weight of the entropy bonus"""
    discount: float = 0.97
    """of the reward, per step"""


def train(args: Args, env: envs.Env, seed: int) -> list[dict[str, Any]]:
    """Rows of returns.csv of one seed."""
    from brax.training.agents.ppo import train as ppo

    from envs.brax_adapter import BraxEnv

    rows: list[dict[str, Any]] = []
    begin = time.perf_counter()

    def progress(steps: int, metrics: dict[str, Any]) -> None:
        rows.append(
            {
                "iteration": len(rows),
                "env_steps": int(steps),
                "seconds": round(float(metrics.get("training/walltime", 0.0)), 3),
                "seed": seed,
                "return": float(metrics["eval/episode_reward"]),
                "return_std": float(metrics["eval/episode_reward_std"]),
                "length": float(metrics["eval/avg_episode_length"]),
            }
        )
        elapsed = time.perf_counter() - begin
        print(f"seed {seed}: {steps} steps, return {rows[-1]['return']:.1f}, {elapsed:.0f} s")

    ppo.train(
        BraxEnv(env),
        num_timesteps=args.timesteps,
        episode_length=env.episode_length,
        num_envs=args.num_envs,
        num_eval_envs=32,
        num_evals=args.evals,
        unroll_length=args.unroll_length,
        batch_size=args.num_envs // 4,
        num_minibatches=4,
        num_updates_per_batch=4,
        learning_rate=args.learning_rate,
        entropy_cost=args.entropy_cost,
        discounting=args.discount,
        normalize_observations=True,
        deterministic_eval=True,
        seed=seed,
        progress_fn=progress,
    )
    return rows


def main(args: Args) -> None:
    """Train every seed and write the tables."""
    settings = defaults(args.env, "shac")[0]
    out = _run.open_folder(args.out)
    env = envs.make(args.env, **settings)
    rows: list[dict[str, Any]] = []
    for seed in range(args.seed, args.seed + args.seeds):
        rows += train(args, env, seed)
        _run.write_csv(out / "returns.csv", {key: [row[key] for row in rows] for key in rows[0]})
    best = [max(r["return"] for r in rows if r["seed"] == s) for s in {r["seed"] for r in rows}]
    _run.write_json(
        out / "metrics.json", {**_run.provenance(args), "best_return": float(np.mean(best))}
    )


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
