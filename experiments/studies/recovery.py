"""Study: does system identification find what it should? Tosses made by MuJoCo, parameters known.

MuJoCo simulates tosses of a cube with known friction, contact stiffness and damping, inertia per
mass and side length; poses are recorded with 1 mm and 1 degree of noise, velocities not at all.
Mass itself cannot be told from free tosses, in which only its ratios to inertia and force matter;
contact stiffness is a time, for the same reason. Contact forces begin at zero (solimp dmin 0):
where they begin with a jump, derivatives mislead the fit (see the bounce). The fit starts from a
model that is wrong in every parameter, and goes by stages: first half of every window, whose errors
are nearly linear in the parameters, then all of it. This is repeated with new tosses, and errors
and the coverage of the 95 % intervals are counted.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import mujoco
import numpy as np

from experiments import cli
from experiments.figures import figure
from experiments.sysid import MODEL
from softsim import sysid

TRUTH = {
    "friction:cube": 0.22,
    "timeconst:cube": 0.02,
    "dampratio:cube": 0.8,
    "size:cube": 0.05,
    "inertia:cube": 0.0007,
}
WRONG = {
    "friction:cube": 0.28,
    "timeconst:cube": 0.016,
    "dampratio:cube": 1.0,
    "size:cube": 0.0515,
    "inertia:cube": 0.0006,
}
NOISE = (0.001, 1.0)  # m, degrees


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/recovery")
    """folder for metrics.json, recovery.csv and recovery.png"""
    repeats: int = 10
    """fits, each to new tosses"""
    tosses: int = 20
    """tosses in a fit"""
    samples: int = 361
    """samples of a toss, 1/592 s apart"""
    window: int = 120
    """this many samples are predicted from an unknown state"""
    spin: float = 1.0
    """standard deviation of each component of the first angular velocity, rad/s"""
    seed: int = 0
    """random seed of the tosses and the noise"""
    quick: bool = False
    """one fit to few short tosses"""

    def __post_init__(self) -> None:
        for name, least in (("repeats", 1), ("tosses", 2), ("samples", 20)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least {least}")


def true_model() -> mujoco.MjModel:
    """The tossed cube, with the parameters that are to be found."""
    mj_model = mujoco.MjModel.from_xml_path(str(MODEL))
    mj_model.geom("cube").friction[0] = TRUTH["friction:cube"]
    mj_model.geom("cube").solref[:] = TRUTH["timeconst:cube"], TRUTH["dampratio:cube"]
    mj_model.geom("cube").size[:] = TRUTH["size:cube"]
    mj_model.geom("cube").solimp[[0, 2]] = 0.0, 0.01  # the force begins at zero, over 1 cm
    mj_model.body("cube").inertia[:] = TRUTH["inertia:cube"]
    mujoco.mj_setConst(mj_model, mujoco.MjData(mj_model))
    return mj_model


def record(
    mj_model: mujoco.MjModel,
    tosses: int,
    samples: int,
    spin: float,
    seed: int,
    noise: tuple[float, float] = NOISE,
) -> list[sysid.Recording]:
    """Tosses of the last free body by MuJoCo, as noisy poses.

    Args:
        spin: standard deviation of angular velocity, rad/s.
        noise: standard deviations, m and degrees.
    """
    generator = np.random.default_rng(seed)
    qpos = np.zeros((tosses, samples, 7))
    for toss in range(tosses):
        data = mujoco.MjData(mj_model)
        turn = generator.normal(size=4)
        data.qpos[:3] = 0.0, 0.0, 0.09 + 0.03 * generator.uniform()
        data.qpos[3:] = turn / np.linalg.norm(turn)
        data.qvel[:3] = [1.0, 0.0, -0.3] + generator.normal(size=3) * [0.3, 0.3, 0.2]
        data.qvel[3:] = spin * generator.normal(size=3)
        for k in range(samples):
            mujoco.mj_step(mj_model, data)
            qpos[toss, k, :3] = data.qpos[:3] + noise[0] * generator.normal(size=3)
            spun = data.qpos[3:].copy()
            turn = np.radians(noise[1]) * generator.normal(size=3)
            mujoco.mju_quatIntegrate(spun, turn, 1.0)
            qpos[toss, k, 3:] = spun
    return [sysid.Recording(qpos=toss, dt=mj_model.opt.timestep) for toss in qpos]


def compute(args: Args, bar: cli.Progress) -> dict[str, np.ndarray]:
    """Values, interval ends, noise level and evaluations of every repeat, by one program."""
    mj_model, fit = true_model(), None
    columns: dict[str, list] = {"values": [], "low": [], "high": [], "noise": [], "evaluations": []}
    task = bar.add_task("repeats", total=args.repeats, status="")
    for repeat in range(args.repeats):
        tosses = record(mj_model, args.tosses, args.samples, args.spin, args.seed + repeat)
        if fit is None:
            fit = sysid.identify(
                mj_model, tosses, list(TRUTH), start=WRONG, noise=NOISE, robust=3.0, spread=0.01,
                stages=(0.5, 1.0), window=args.window,
            )  # fmt: skip
        else:
            fit = sysid.refit(fit, tosses)
        sure = fit.sure
        found = (sure.values, sure.low, sure.high, sure.noise, fit.point.evaluations)
        for name, value in zip(columns, found):
            columns[name].append(value)
        bar.update(task, advance=1, status=f"noise level {sure.noise:.2f}")
    return {name: np.array(values) for name, values in columns.items()}


def table(found: dict[str, np.ndarray]) -> list[dict[str, str]]:
    """Errors and coverage, parameter by parameter."""
    rows = []
    for i, (name, truth) in enumerate(TRUTH.items()):
        error = np.abs(found["values"][:, i] / truth - 1)
        inside = (found["low"][:, i] < truth) & (truth < found["high"][:, i])
        rows.append(
            {
                "parameter": name,
                "truth": f"{truth:g}",
                "start": f"{WRONG[name]:g}",
                "error, median": f"{np.median(error):.2%}",
                "error, worst": f"{error.max():.2%}",
                "truth in the interval": f"{np.mean(inside):.0%}",
            }
        )
    return rows


def findings(found: dict[str, np.ndarray]) -> list[str]:
    """What the numbers say."""
    truth = np.array(list(TRUTH.values()))
    error = np.abs(found["values"] / truth - 1)
    inside = (found["low"] < truth) & (truth < found["high"])
    return [
        f"In {len(error)} repetitions every parameter comes out within {error.max():.1%} of the "
        f"truth (median {np.median(error):.2%}).",
        f"The true values are inside the 95 % intervals in {np.mean(inside):.0%} of cases.",
        f"A fit takes {np.median(found['evaluations']):.0f} evaluations (median), each giving the "
        f"errors and their exact Jacobian; the level of the noise is found as "
        f"{np.median(found['noise']):.2f} times the true one.",
    ]


def draw(path: Path, found: dict[str, np.ndarray]) -> None:
    """Fitted over true value, with intervals, repeat by repeat."""
    with figure(path, figsize=(7.0, 3.6)) as (_, axes):
        count = len(found["values"])
        for i, truth in enumerate(TRUTH.values()):
            at = i + np.linspace(-0.35, 0.35, count) if count > 1 else np.array([i])
            middle, low, high = (found[key][:, i] / truth for key in ("values", "low", "high"))
            ends = [middle - low, high - middle]
            axes[0, 0].errorbar(at, middle, yerr=ends, fmt="o", ms=2, lw=1)
        axes[0, 0].axhline(1.0, color="black", lw=0.8)
        for bound in (0.98, 1.02):
            axes[0, 0].axhline(bound, color="black", lw=0.8, ls=":")
        axes[0, 0].set_xticks(range(len(TRUTH)), TRUTH)
        axes[0, 0].set_ylabel("fitted / true, 95 % intervals")


def main(args: Args) -> None:
    """Repeat the fit to new tosses and count."""
    if args.quick:
        args = Args(args.out, repeats=1, tosses=4, samples=31, window=20)
    cli.open_folder(args.out)
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        found = compute(args, bar)
    rows, said = table(found), findings(found)
    columns = {"repeat": np.arange(len(found["values"]))}
    for i, name in enumerate(TRUTH):
        columns |= {f"{name} {key}": found[key][:, i] for key in ("values", "low", "high")}
    cli.write_csv(args.out / "recovery.csv", columns)
    metrics = {**made, "table": rows, "findings": said}
    cli.write_json(args.out / "metrics.json", metrics)
    draw(args.out / "recovery.png", found)
    cli.print_table("Recovery of known parameters", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
