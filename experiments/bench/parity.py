"""Parity of a hard step with stock MJX, and of `linearize` with MuJoCo's finite differences.

For every robot that ships with MJX and Gymnasium: relative error of the state after 1 and after 50
steps in float32 and float64, and relative Frobenius error of A and B against
`mujoco.mjd_transitionFD` (centred) at random states with active contacts. Solvers are converged
(many iterations, tight tolerance), so that both solve the same problem.
"""

import dataclasses
import json
from pathlib import Path

import jax
import mujoco
import numpy as np
from etils import epath
from mujoco import mjx

import softsim
from experiments import cli

GYMNASIUM = ("hopper", "walker2d_v5", "half_cheetah", "ant", "humanoid", "pusher_v5", "swimmer")
MJX = (
    "humanoid/humanoid.xml",
    "barkour_v0/assets/barkour_v0_mjx.xml",
    "shadow_hand/scene_right.xml",
    "actuator/arm26.xml",
    "constraints.xml",
    "convex.xml",
    "tendon/tendon.xml",
)
MODELS = tuple(f"gymnasium/{name}" for name in GYMNASIUM) + tuple(f"mjx/{name}" for name in MJX)


@dataclasses.dataclass(frozen=True)
class Args:
    """Parity with MJX and with MuJoCo's finite differences."""

    out: Path = Path("experiments/bench/results")
    """folder for parity.json and parity.csv; what other models have there stays"""
    models: tuple[str, ...] = MODELS
    """which models (gymnasium/<name> or mjx/<path>)"""
    states: int = 20
    """random states with active contacts for the linearisation"""


def load(name: str) -> mujoco.MjModel:
    """A model that ships with the gymnasium or the mujoco-mjx package, by `MODELS`' names.

    Raises:
        ValueError: there is no such model.
    """
    source, _, rest = name.partition("/")
    if source == "gymnasium":
        import gymnasium

        path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / f"{rest}.xml"
    elif source == "mjx":
        path = Path(epath.resource_path("mujoco.mjx")) / "test_data" / rest
    else:
        raise ValueError(f"model {name!r}: expected one of {', '.join(MODELS)}")
    return mujoco.MjModel.from_xml_path(str(path))


def converged(name: str, double: bool) -> mujoco.MjModel:
    """The model with a solver that converges to the rounding of its dtype (Newton for PGS, which
    MJX lacks)."""
    mj_model = load(name)
    if mj_model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        mj_model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    mj_model.opt.iterations, mj_model.opt.ls_iterations = 100, 50
    mj_model.opt.tolerance = 1e-15 if double else 1e-8
    mj_model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    return mj_model


def steps(name: str, double: bool) -> tuple[list[float], dict[str, tuple]]:
    """Relative error of (qpos, qvel) against `mjx.step` step by step, and both final states."""
    with jax.enable_x64(double):
        jax.clear_caches()  # frees memory, and no trace of the other dtype is met again
        mj_model = converged(name, double)
        m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, _start(mj_model))
        ours, theirs = jax.jit(softsim.step), jax.jit(mjx.step)
        errors: list[float] = []
        a = b = d
        for _ in range(50):
            a, b = ours(m, a), theirs(m, b)
            errors.append(_error((a.qpos, a.qvel), (b.qpos, b.qvel)))
    return errors, {"softsim": (a.qpos, a.qvel), "mjx": (b.qpos, b.qvel)}


def parity(name: str) -> dict[str, float]:
    """Errors after 1 and 50 steps in both dtypes; in float32 also each engine against float64."""
    double, truth = steps(name, True)
    single, ends = steps(name, False)
    return {
        "float64, 1 step": double[0],
        "float64, 50 steps": double[-1],
        "float32, 1 step": single[0],
        "float32, 50 steps": single[-1],
        "softsim float32, 50 steps, from float64": _error(ends["softsim"], truth["softsim"]),
        "mjx float32, 50 steps, from float64": _error(ends["mjx"], truth["softsim"]),
    }


def linearisation(name: str, states: int) -> dict[str, float]:
    """Worst relative error of A and B over random states whose contacts MuJoCo C agrees on."""
    with jax.enable_x64(True):
        mj_model = converged(name, True)
        if mj_model.opt.integrator == mujoco.mjtIntegrator.mjINT_RK4:
            mj_model.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER  # all that the oracle knows
        m = softsim.put_model(mj_model)
        linearize = jax.jit(softsim.linearize)
        step = jax.jit(softsim.step)  # its qacc is that of the state it starts from
        errors: list[tuple[float, float]] = []
        tried = 0
        rng = np.random.default_rng(0)
        mj_data = _start(mj_model)
        while len(errors) < states and tried < 2 * states:
            tried += 1
            _wander(mj_model, mj_data, rng)
            d = softsim.put_data(mj_model, mj_data)
            if not _same_acceleration(mj_model, mj_data, step(m, d)):
                continue
            if mj_data.ncon == 0 and _can_touch(mj_model):
                continue
            errors.append(_linearisation_error(mj_model, mj_data, linearize(m, d)))
    worst = np.max(errors, axis=0) if errors else (np.nan, np.nan)
    middle = np.median(errors, axis=0) if errors else (np.nan, np.nan)
    return {
        "states": len(errors),
        "states tried": tried,
        "A, median": middle[0],
        "A, worst": worst[0],
        "B, median": middle[1],
        "B, worst": worst[1],
    }


def _start(mj_model: mujoco.MjModel) -> mujoco.MjData:
    mj_data = mujoco.MjData(mj_model)
    if mj_model.nkey:
        mujoco.mj_resetDataKeyframe(mj_model, mj_data, 0)
    rng = np.random.default_rng(1)
    mj_data.qvel[:] = 0.05 * rng.normal(size=mj_model.nv)
    mj_data.ctrl[:] = 0.1 * rng.normal(size=mj_model.nu)
    return mj_data


def _wander(mj_model: mujoco.MjModel, mj_data: mujoco.MjData, rng: np.random.Generator) -> None:
    """Move on under random controls, so that states are physical and touch things."""
    low, high = mj_model.actuator_ctrlrange.T
    limited = mj_model.actuator_ctrllimited.astype(bool)
    span = np.where(limited, np.minimum(high - low, 2.0), 0.5)
    centre = np.where(limited, 0.5 * (low + high), 0.0)
    mj_data.ctrl[:] = centre + 0.4 * span * rng.uniform(-1, 1, mj_model.nu)
    for _ in range(25):
        mujoco.mj_step(mj_model, mj_data)


def _same_acceleration(mj_model: mujoco.MjModel, mj_data: mujoco.MjData, d: mjx.Data) -> bool:
    """Whether both engines see the same contacts and constraints: the accelerations agree."""
    mujoco.mj_forward(mj_model, mj_data)
    return _error((d.qacc,), (mj_data.qacc,)) < 1e-6


def _can_touch(mj_model: mujoco.MjModel) -> bool:
    from softsim._mjx import geom_pairs

    return next(iter(geom_pairs(mj_model)), None) is not None


def _linearisation_error(
    mj_model: mujoco.MjModel, mj_data: mujoco.MjData, exact: tuple
) -> tuple[float, float]:
    n, nu = 2 * mj_model.nv + mj_model.na, mj_model.nu
    A, B = np.zeros((n, n)), np.zeros((n, nu))
    mujoco.mjd_transitionFD(mj_model, mj_data, 1e-6, True, A, B if nu else None, None, None)
    return _error((exact[0],), (A,)), _error((exact[1],), (B,)) if nu else 0.0


def _error(a: tuple, b: tuple) -> float:
    x, y = (np.concatenate([np.ravel(np.asarray(z, np.float64)) for z in s]) for s in (a, b))
    return float(np.linalg.norm(x - y)) / max(float(np.linalg.norm(y)), 1e-12)


def main(args: Args) -> None:
    """Measure, print and store the table, model by model."""
    out = cli.open_folder(args.out)
    # values only: the compiler's expensive optimisations would double the waiting
    jax.config.update("jax_disable_most_optimizations", True)
    rows = _others(out, args)
    with cli.progress() as bar:
        task = bar.add_task("parity", total=len(args.models), status="")
        for name in args.models:
            bar.update(task, status=name)
            row: dict = {"model": name}
            for part in (
                parity,
                lambda n: linearisation(n, args.states),
            ):
                try:
                    row |= part(name)
                except softsim.UnsupportedModelError as error:
                    row["refused"] = "; ".join(error.problems)
                    break
            rows.append(row)
            bar.advance(task)
            _store(out, args, rows)
    names = [name for name in dict.fromkeys(n for row in rows for n in row) if name != "refused"]
    shown = [{k: _text(row.get(k, "")) for k in names} for row in rows]
    cli.print_table("parity", shown)


def _others(out: Path, args: Args) -> list[dict]:
    """Rows stored by earlier runs, of models that this run does not measure."""
    path = out / "parity.json"
    stored = json.loads(path.read_text())["rows"] if path.exists() else []
    return [row for row in stored if row["model"] not in args.models]


def _text(value: object) -> str:
    return f"{value:.1e}" if isinstance(value, float) else str(value)


def _store(out: Path, args: Args, rows: list[dict]) -> None:
    cli.write_json(out / "parity.json", {**cli.provenance(args), "rows": rows})
    names = list(dict.fromkeys(name for row in rows for name in row))
    cli.write_csv(out / "parity.csv", {n: [row.get(n, "") for row in rows] for n in names})
