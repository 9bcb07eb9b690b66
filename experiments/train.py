"""Train a policy through contact: one command from nothing to a policy checked in MuJoCo C.

    softsim train --env cartpole --seeds 5
    softsim train --env hopper shac --horizon 32 --actor-rate 5e-4
    softsim train apg --help
    softsim train --env my_tasks:Reacher
    softsim train --env hopper --seeds 3 --out runs/hopper --resume

What is not given comes from experiments/presets.py. Writes progress.csv (every update), returns.csv
(every evaluation and seed), a checkpoint, the policies, curve.png and metrics.json; stopped at any
time, or by `--budget 1h`, it continues with --resume and ends with the same result. The policies
kept are those of the best evaluations (policy_SEED.npz) and the last (last_SEED.npz). Where a task
trains on faster physics than those it is published with, evaluations are on the published ones, in
MuJoCo C. At the end the best are read back and scored from other starts in softsim and in MuJoCo C,
and an episode is drawn, as a strip and moving, where MuJoCo can render.
"""

import math
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import equinox as eqx
import jax
import numpy as np
import tyro
from tyro.conf import CascadeSubcommandArgs, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

import envs
import softsim
from envs.mujoco_c import Judge, run_episodes
from experiments import cli, presets
from experiments.curves import RETURNS, Log, draw_curve
from softsim import learning

CHECKPOINT = "checkpoint.eqx"
STARTS = 2**31 - 2  # the random key of the final check: other starts than those of evaluations
FILM = 8.0  # s: so much of an episode is shown moving
Shac = Annotated[learning.Shac, subcommand("shac")]
Apg = Annotated[learning.Apg, subcommand("apg")]


@dataclass(frozen=True)
class Args:
    """Settings of a training."""

    env: str = "cartpole"
    """environment (a wrong name lists those there are), or MODULE:CLASS: a task of your own, a
    class derived from envs.Env in a module of the current folder or an installed one"""
    out: Path | None = None
    """folder for everything written; default: runs/train/ENV-ALGORITHM"""
    resume: bool = False
    """continue from the checkpoint in the folder"""
    budget: str | None = None
    """stop after this time, such as 90s, 30m or 1h30m, as if all updates were done; --resume
    continues, with a budget of its own"""
    seed: int = 0
    """the first random seed"""
    seeds: int = 1
    """train this many policies at once, with consecutive seeds"""
    eval_every: int = 20
    """the policy is evaluated, and a checkpoint written, after this many updates"""
    eval_envs: int = 16
    """an evaluation runs this many episodes per seed"""
    check_episodes: int = 4
    """the final check in MuJoCo C runs this many episodes"""
    algorithm: Shac | Apg = field(default_factory=learning.Shac)
    """shac: short-horizon actor-critic; apg: analytic policy gradient"""

    def __post_init__(self) -> None:
        for name in ("seeds", "check_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 1")
        _ = self.allowed

    @property
    def allowed(self) -> float:
        """Seconds that training may take."""
        return math.inf if self.budget is None else cli.seconds("--budget", self.budget)

    @property
    def algo(self) -> str:
        """The name of the algorithm."""
        return type(self.algorithm).__name__.lower()

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        name = f"{self.env.replace(':', '.')}-{self.algo}"
        return self.out or Path("runs") / "train" / name

    @property
    def all_seeds(self) -> range:
        """The random seeds."""
        return range(self.seed, self.seed + self.seeds)


def parse(argv: Sequence[str]) -> Args:
    """The arguments; the defaults are those of the preset of the environment and algorithm."""
    words, env, algo = presets.chosen(argv)
    return tyro.cli(
        Args,
        args=words,
        default=Args(env=env, algorithm=presets.find(env).algorithm(algo)),
        description=__doc__,
        prog=cli.program(),
        config=(CascadeSubcommandArgs, OmitArgPrefixes, OmitSubcommandPrefixes),
    )


def start(args: Args) -> tuple[envs.Env, Any]:
    """The environment and the reports to come: all is checked, nothing computed."""
    out = cli.open_folder(args.folder)
    if (out / CHECKPOINT).exists() != args.resume:
        found = f"--out {out}: holds a checkpoint; continue it with --resume or choose another"
        raise ValueError(f"--resume: no checkpoint in {out}" if args.resume else found)
    env = envs.make(args.env, **presets.find(args.env).env)
    often: Any = {"evaluate_every": args.eval_every, "episodes": args.eval_envs}
    kept: Any = {"checkpoint": out / CHECKPOINT, "resume": args.resume}
    counts = published(args)
    judge = None if counts is None else Judge(counts)
    return env, learning.train(env, args.algorithm, args.all_seeds, judge=judge, **often, **kept)


def published(args: Args) -> envs.Env | None:
    """The task on its published physics; None if it trains on these."""
    plain = presets.find(args.env).published()
    return None if plain is None else envs.make(args.env, **plain)


def run(args: Args, reports: Any, seeds: Sequence[int]) -> tuple[learning.Report, Log]:
    """Follow a training: a bar, tables, and the best policies so far; the last report."""
    out, log = args.folder, Log(args.folder, args.resume)
    total, end = args.algorithm.iterations, time.monotonic() + args.allowed
    with cli.progress() as bar, closing(reports):
        task = bar.add_task("training", total=total, status="compiling")
        try:
            for report in reports:
                log.add(report, seeds)
                if report.evaluated:
                    for seed, best, last in zip(seeds, report.best, report.policy):
                        best.save(out / f"policy_{seed}.npz")
                        last.save(out / f"last_{seed}.npz")
                status = f"return {report.returns.mean():.4g}, {log.speed:,.0f} steps/s"
                bar.update(task, completed=report.iteration, status=status)
                if report.iteration < total and time.monotonic() > end:
                    print(f"--budget {args.budget} is spent; --resume continues in {out}")
                    break
        except learning.DivergedError as error:
            (out / "diagnosis.txt").write_text(error.diagnosis + "\n")
            raise ValueError(f"{error} The whole report: {out / 'diagnosis.txt'}") from error
        except KeyboardInterrupt:
            print(f"\nstopped; the last update is saved in {out}: continue with --resume")
            raise
        finally:
            log.write()
    return report, log


def check(args: Args, env: envs.Env) -> dict[str, list[float]]:
    """Mean returns of the saved policy of every seed, from the same starts, by where they played.

    The environment may train on faster physics than the published task has; the last score is on
    the published one.
    """
    keys = jax.random.split(jax.random.key(STARTS), args.check_episodes)
    files = [args.folder / f"policy_{s}.npz" for s in args.all_seeds]
    policies = [eqx.partition(learning.load_policy(file), eqx.is_array) for file in files]
    stacked = jax.tree.map(lambda *x: jax.numpy.stack(x), *(arrays for arrays, _ in policies))
    together = eqx.combine(stacked, policies[0][1])
    mean = lambda score: np.mean(score.returns, axis=1).tolist()
    each = eqx.filter_vmap(lambda policy: learning.evaluate(env, policy, keys))
    scores = {"softsim": mean(eqx.filter_jit(each)(together))}
    for name, task in (("mujoco_c", env), ("mujoco_c_published", published(args))):
        if task is not None:
            scores[name] = mean(Judge(task)(together, keys))
    return scores


def picture(args: Args, env: envs.Env, best: int) -> str:
    """A film and a strip of images of the best seed; what to tell the user."""
    policy = learning.load_policy(args.folder / f"policy_{best}.npz")
    keys = jax.random.split(jax.random.key(STARTS), 1)
    qpos = run_episodes(env, policy, keys)[0].qpos
    try:
        softsim.render(env.mj_model, qpos, args.folder / "strip.png")
        shown = qpos[: 1 + round(FILM / env.dt)]
        softsim.render(env.mj_model, shown, args.folder / "episode.gif", dt=env.dt)
        return f"Images of an episode: strip.png, episode.gif in {args.folder}"
    except softsim.RenderError as error:
        return f"No images: {error}"


def main(args: Args) -> None:
    """Train, or continue, then check and draw, alone in the folder."""
    with cli.lock(cli.open_folder(args.folder)):
        train_and_check(args)


def train_and_check(args: Args) -> None:
    """Train, or continue, then check and draw."""
    env, reports = start(args)
    out, seeds = args.folder, args.all_seeds
    report, log = run(args, reports, seeds)
    draw_curve(out / "curve.png", f"{args.env}, {args.algo}", log.tables[RETURNS])
    scores = check(args, env)
    cli.write_json(
        out / "metrics.json",
        {
            **cli.provenance(args),
            "algo": args.algo,
            "algorithm": {name: str(value) for name, value in vars(args.algorithm).items()},
            "env_steps_per_seed": report.steps,
            "seconds": report.seconds,
            "final_return": dict(zip(seeds, report.returns.mean(axis=1))),
            "best_return": dict(zip(seeds, report.best_return)),
            "check": scores,
        },
    )
    columns = ("softsim", "MuJoCo C", "MuJoCo C, published physics")
    rows = [
        {"seed": str(seed)} | {name: f"{x:.1f}" for name, x in zip(columns, values)}
        for seed, *values in zip(seeds, *scores.values())
    ]
    cli.print_table(f"Mean return of {args.check_episodes} episodes from the same starts", rows)
    print(picture(args, env, seeds[int(np.argmax(report.best_return))]))
    tables = "progress.csv, returns.csv, curve.png, metrics.json"
    print(f"Written to {out}: {tables}, policy_SEED.npz, last_SEED.npz")


def command() -> None:
    """Run from the command line."""
    cli.launch(lambda: parse(sys.argv[1:]), main, __doc__)


if __name__ == "__main__":
    command()
