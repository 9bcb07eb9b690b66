"""Train a policy through contact: one command from nothing to a policy checked in MuJoCo C.

    python -m experiments.train --env cartpole --algo shac
    python -m experiments.train --env hopper --algo shac --seeds 3 --out runs/hopper
    python -m experiments.train --env my_tasks:Reacher
    python -m experiments.train --env hopper --algo shac --seeds 3 --out runs/hopper --resume

Writes progress.csv (every update), returns.csv (every evaluation and seed), a checkpoint, the
policy, curve.png and metrics.json; stopped at any time, it continues with --resume and ends with
the same result. The policy kept is that of the best evaluation. At the end it is read back and
scored from other starts in softsim and in MuJoCo C, and a strip of images is drawn where MuJoCo can
render.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, get_args

import equinox as eqx
import numpy as np

import envs
from envs.mujoco_c import run_episodes
from experiments import _checkpoint, _run, apg, shac
from experiments._networks import Policy
from experiments._presets import defaults
from experiments._rollouts import evaluate
from experiments._softness import Softness
from experiments._training import CHECKPOINT, POLICY, Run, check_keys, load_policy
from experiments._training_figures import draw_curve, draw_strip

Algo = Literal["shac", "apg"]
ALGOS: dict[str, tuple[ModuleType, type]] = {"shac": (shac, shac.Shac), "apg": (apg, apg.Apg)}


@dataclass(frozen=True)
class Args:
    """Settings of a training; what is not given comes from experiments/_presets.py."""

    env: str = "cartpole"
    """environment (a wrong name lists those there are), or MODULE:CLASS: a task of your own, a
    class derived from envs.Env in a module of the current folder or an installed one"""
    algo: str = "shac"
    """shac: short-horizon actor-critic; apg: analytic policy gradient"""
    out: Path | None = None
    """folder for everything written; default: runs/train/ENV-ALGO"""
    resume: bool = False
    """continue from the checkpoint in the folder"""
    seed: int = 0
    """the first random seed"""
    seeds: int = 1
    """train this many policies at once, with consecutive seeds"""
    iterations: int | None = None
    """the policy is updated this many times"""
    num_envs: int | None = None
    """every seed runs this many environments at once"""
    horizon: int | None = None
    """every update simulates this many steps of each environment"""
    actor_rate: float | None = None
    """learning rate of the policy at the start"""
    softening: str | None = None
    """the derivatives to follow: hard; saltation (hard values, the slope of the outcome); soft
    (soft values too); straight_through (hard values, soft derivatives)"""
    softness: float | None = None
    """soft switches between features of shapes have this width, relative to their size"""
    reach: float | None = None
    """soft contacts are felt from this distance, m"""
    anneal: float | None = None
    """this share of softness and reach is left at the end of the training"""
    estimator: str | None = None
    """how SHAC estimates the gradient of the policy: first (through the physics), zeroth (no
    derivative of the physics), mixed"""
    randomize: dict[str, float] = field(default_factory=dict)
    """leaves of the model that vary from episode to episode in training, LEAF SHARE ...: every
    entry is multiplied by its own factor from 1 - SHARE to 1 + SHARE. Evaluation does not vary
    them"""
    fading: float | None = None
    """SHAC smooths the end of failing episodes over this width, in the derivative only; 0: failing
    has no derivative"""
    eval_every: int = 20
    """the policy is evaluated, and a checkpoint written, after this many updates"""
    eval_envs: int = 16
    """an evaluation runs this many episodes per seed"""
    check_episodes: int = 4
    """the final check in MuJoCo C runs this many episodes"""

    def __post_init__(self) -> None:
        for name in ("seeds", "eval_every", "eval_envs", "check_episodes"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 1")
        if not 0 <= self.seed <= 2**31 - 1 - self.seeds:
            raise ValueError(f"--seed: got {self.seed}, expected a number from 0 to 2^31")
        if self.algo not in ALGOS:
            raise ValueError(f"--algo {self.algo}: there are {', '.join(get_args(Algo))}")
        defaults(self.env, self.algo)
        for name in ("estimator", "fading"):
            if getattr(self, name) is not None and self.algo != "shac":
                raise ValueError(f"--{name} is of shac, not of {self.algo}")


def configure(args: Args) -> tuple[dict[str, Any], Any]:
    """Settings of the environment and of the algorithm: the defaults, changed by the arguments."""
    env_settings, own, soft = defaults(args.env, args.algo)
    kind = ALGOS[args.algo][1]
    known = {f.name for f in fields(kind)}
    given = {n: v for n, v in vars(args).items() if v is not None and n in known - {"softness"}}
    names = {"preset": args.softening, "softness": args.softness, "reach": args.reach}
    soft = soft | {n: v for n, v in (names | {"anneal": args.anneal}).items() if v is not None}
    own = {name: value for name, value in own.items() if name in known}
    given["randomize"] = tuple(args.randomize.items())
    return env_settings, kind(**(own | given), softness=Softness(**soft))


def prepare(args: Args) -> tuple[Run, Path]:
    """Environment, algorithm and folder, all checked before anything is computed."""
    env_settings, config = configure(args)
    out = args.out or Path("runs") / "train" / f"{args.env.replace(':', '.')}-{args.algo}"
    _run.open_folder(out)
    if (out / CHECKPOINT).exists() != args.resume:
        raise ValueError(
            f"--resume: no checkpoint in {out}"
            if args.resume
            else f"--out {out}: holds a checkpoint; continue it with --resume or choose another"
        )
    seeds = tuple(range(args.seed, args.seed + args.seeds))
    settings = vars(config) | {"env": env_settings, "seed": args.seed, "seeds": args.seeds}
    settings |= {"eval_every": args.eval_every, "eval_envs": args.eval_envs}
    about = _checkpoint.describe(args.env, args.algo, settings)
    env = envs.make(args.env, **env_settings)
    if not env.action_size:
        raise ValueError(f"--env {args.env}: the task has no actions, so there is nothing to learn")
    config.practice(env, 0)  # refuses leaves that the model does not have
    module = ALGOS[args.algo][0]
    run = Run(env, module, config, about, out, seeds, args.eval_every, args.eval_envs)
    return run, out


def check(args: Args, run: Run) -> dict[str, Any]:
    """Scores of the saved policy of every seed, from the same starts, in softsim and in MuJoCo C.

    The environment may train on faster physics than the published task has; the last score is on
    the published one.
    """
    keys = check_keys(args.check_episodes)
    settings = defaults(args.env, args.algo)[0]
    plain = _published(settings)
    scored = eqx.filter_jit(evaluate)

    def in_c(env: envs.Env, policy: Policy) -> float:
        return float(np.mean([e.reward.sum() for e in run_episodes(env, policy, keys)]))

    result: dict[str, Any] = {"softsim": [], "mujoco_c": [], "mujoco_c_published": []}
    for seed in range(len(run.seeds)):
        policy = load_policy(run.out / POLICY, run.about, run.env, run.config, seed)
        result["softsim"].append(float(np.mean(scored(run.env, policy, keys).returns)))
        result["mujoco_c"].append(in_c(run.env, policy))
    if plain == settings:
        result["mujoco_c_published"] = result["mujoco_c"]
        return result
    published = envs.make(args.env, **plain)
    for seed in range(len(run.seeds)):
        policy = load_policy(run.out / POLICY, run.about, run.env, run.config, seed)
        result["mujoco_c_published"].append(in_c(published, policy))
    return result


def _published(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of an environment without those of its physics."""
    return {k: v for k, v in settings.items() if k not in ("options", "frame_skip")}


def picture(args: Args, run: Run) -> str:
    """A strip of images of the best seed; a message where MuJoCo cannot render."""
    assert run.best is not None
    best = int(np.argmax(run.best[1]))
    policy = load_policy(run.out / POLICY, run.about, run.env, run.config, best)
    episode = run_episodes(run.env, policy, check_keys(1))[0]
    return draw_strip(run.out / "strip.png", run.env, episode.qpos)


def main(args: Args) -> None:
    """Train, or continue, then check and draw."""
    run, out = prepare(args)
    run.check_space()
    state = run.resume() if args.resume else run.start()
    try:
        run.train(state)
    except KeyboardInterrupt:
        print(f"\nstopped; the last update is saved in {out}: continue with --resume")
        raise
    draw_curve(out / "curve.png", f"{args.env}, {args.algo}", run.log.returns)
    scores = check(args, run)
    strip = picture(args, run)
    last = run.log.returns[-len(run.seeds) :]
    assert run.best is not None
    _run.write_json(
        out / "metrics.json",
        {
            **_run.provenance(args),
            "algorithm": {name: str(value) for name, value in vars(run.config).items()},
            "env_steps_per_seed": run.config.iterations * run.config.steps_per_update,
            "seconds": run.seconds,
            "final_return": {str(row["seed"]): float(row["return"]) for row in last},
            "best_return": {str(s): float(r) for s, r in zip(run.seeds, run.best[1])},
            "check": scores,
        },
    )
    rows = [
        {
            "seed": str(seed),
            "softsim": f"{scores['softsim'][i]:.1f}",
            "MuJoCo C": f"{scores['mujoco_c'][i]:.1f}",
            "MuJoCo C, published physics": f"{scores['mujoco_c_published'][i]:.1f}",
        }
        for i, seed in enumerate(run.seeds)
    ]
    _run.print_table(f"Mean return of {args.check_episodes} episodes from the same starts", rows)
    print(strip)
    print(f"Written to {out}: progress.csv, returns.csv, curve.png, metrics.json, {POLICY}")


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
