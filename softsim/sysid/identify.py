"""Fit the parameters of a model to recordings of its motion."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import mujoco
import numpy as np

from softsim.encounters import encounters
from softsim.sysid.evaluator import Evaluator
from softsim.sysid.fit import Fit
from softsim.sysid.flight import start_in_flight
from softsim.sysid.least_squares import Point, solve
from softsim.sysid.mjcf import last_read
from softsim.sysid.parameters import make_table
from softsim.sysid.problem import Problem, make_problem
from softsim.sysid.recording import Recording
from softsim.sysid.settings import Settings
from softsim.sysid.tracks import UNEVEN, Track, complete, cut

ABOUT = 1.0  # s, a window where none is given
LEAST = 20  # samples of such a window
NEAR = 0.02  # of the model's extent: bodies that come so near each other may touch in the fit


def identify(
    mj_model: mujoco.MjModel,
    recordings: Sequence[Recording],
    parameters: Sequence[str],
    **settings: Any,
) -> Fit:
    """The parameters of a model with which it moves as recorded, and how sure they are.

    Gauss-Newton steps with exact Jacobians of the simulation, through its contacts, in float64
    whatever JAX's setting. A first call compiles, for half a minute or so. Only bodies that come
    near each other in the recordings have contacts: if others touch in what MuJoCo C predicts with
    the fitted parameters, the fit is repeated with theirs.

    >>> import mujoco, numpy as np
    >>> from softsim import sysid
    >>> xml = '''<mujoco><option timestep="0.01"/><worldbody><body><joint name="hinge" axis="0 1 0"
    ...     damping="{}"/><geom type="capsule" fromto="0 0 0 0 0 -.5" size=".02" mass="1"/></body>
    ...     </worldbody></mujoco>'''
    >>> real, guess = (mujoco.MjModel.from_xml_string(xml.format(x)) for x in (0.05, 0.02))
    >>> data, qpos = mujoco.MjData(real), []
    >>> data.qpos[0] = 1.0
    >>> for _ in range(60):
    ...     qpos.append(data.qpos.copy())
    ...     mujoco.mj_step(real, data)
    >>> recording = sysid.Recording(qpos=np.array(qpos), dt=0.01)
    >>> fit = sysid.identify(guess, [recording], parameters=["damping:hinge"])
    >>> print(f"{fit.values['damping:hinge']:.3f} N m s")
    0.050 N m s

    Args:
        mj_model: the model, its other numbers as well known as they are.
        recordings: motion of it, all with one `dt`; lengths may differ.
        parameters: names, KIND:ELEMENT or KIND. Geoms: friction, torsion, rolling, timeconst,
            dampratio, dmin, dmax, width, size, place. Bodies: mass, inertia, moments, com, axes.
            Joints: damping, armature, frictionloss, stiffness. Actuators: gain, gear, kp, kv. The
            world: gravity, tilt, length_scale. Or a float field that MJCF holds, as
            FIELD:ELEMENT[i]. docs/sysid.md says what each is.
        settings: fields of `Settings` by name, such as `start={"damping:elbow": 0.1}` where the
            model's damping is 0, `bounds={"mass:forearm": (0.5, 1)}` or `window=50`.

    Raises:
        ValueError: a name is unknown, a recording does not belong to the model, or what is given
            does not fit together; the message names the argument, and says what was expected.
    """
    *_, fit = iterate(mj_model, recordings, parameters, **settings)
    return fit


def iterate(
    mj_model: mujoco.MjModel,
    recordings: Sequence[Recording],
    parameters: Sequence[str],
    **settings: Any,
) -> Iterator[Fit]:
    """The fit after each step, for those who want to watch; arguments and errors as `identify`."""
    how = Settings(**settings)
    source = last_read(mj_model)
    tracks = complete(recordings, mj_model)
    with jax.enable_x64(True):
        table = make_table(mj_model, parameters, how)
        problem = make_problem(mj_model, table, how, tracks[0].dt, _measured(recordings))
        evaluate = Evaluator(problem)
    yield from _steps(tracks, mj_model, source, problem, evaluate, how)


def refit(fit: Fit, recordings: Sequence[Recording]) -> Fit:
    """The same fit to other recordings, from the same start: repeated without compiling again.

    Args:
        recordings: of the `dt` of those that were fitted, with velocities if those had them.

    Raises:
        ValueError: as `identify`.
    """
    tracks = complete(recordings, fit.given)
    if abs(tracks[0].dt / fit.tracks[0].dt - 1) > UNEVEN:
        raise ValueError(
            f"recordings[0].dt: got {tracks[0].dt:.6g} s, expected {fit.tracks[0].dt:.6g} s as in "
            "the fit"
        )
    *_, found = _steps(tracks, fit.given, fit.source, fit.problem, fit.evaluate, fit.settings)
    return found


def _measured(recordings: Sequence[Recording]) -> bool:
    return all(recording.qvel is not None for recording in recordings)


def _steps(
    tracks: list[Track],
    mj_model: mujoco.MjModel,
    source: mujoco.MjSpec | None,
    problem: Problem,
    evaluate: Evaluator,
    how: Settings,
) -> Iterator[Fit]:
    """Fits step by step; between them JAX has the caller's precision again."""
    if how.smooth:
        tracks = start_in_flight(tracks, mj_model, problem.backward)
    second = max(LEAST, round(ABOUT / tracks[0].dt))
    windows = cut(tracks, second if how.window is None else how.window, how.windows == "first")
    begin = time.perf_counter()
    rows = np.concatenate([track.qpos for track in tracks])
    needed = encounters(mj_model, rows, NEAR * mj_model.stat.extent)
    while True:
        if not needed <= evaluate.bodies:
            with jax.enable_x64(True):
                evaluate = Evaluator(problem, evaluate.bodies | needed)
        for point in _in_float64(solve(problem, windows, evaluate, how.stages, how.iterations)):
            seconds = time.perf_counter() - begin
            fit = Fit(mj_model, source, problem, evaluate, tracks, windows, point, seconds, how)
            yield fit
        needed = fit.encounters()
        if needed <= evaluate.bodies:
            return


def _in_float64(points: Iterator[Point]) -> Iterator[Point]:
    while True:
        with jax.enable_x64(True):
            point = next(points, None)
        if point is None:
            return
        yield point
