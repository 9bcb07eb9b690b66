"""The gradient doctor: where a step's derivative is not finite, zero or off, and what to change.

Every stage of a step (poses, contacts, constraint rows, forces, acceleration, next state) is
differentiated with respect to every input (position, velocity, activation, control) and compared
with central differences. Differences with two step sizes tell a kink or a jump nearby, where no
derivative is right, from a derivative that is wrong.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.collision import Contact, collide
from softsim.convergence import stopped_short
from softsim.integrators import advance, difference_pos, integrate_pos
from softsim.model import check_inputs
from softsim.softening import Softening
from softsim.step import accelerate

Verdict = Literal["ok", "zero", "not finite", "jump nearby", "off"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """One stage with respect to one input.

    Attributes:
        stage: what was differentiated.
        wrt: with respect to which input.
        verdict: "ok"; "zero" (nothing depends on this input); "not finite"; "jump nearby"
            (differences grow as their step shrinks); "off" (they settle elsewhere: a kink at this
            state, where a derivative is one-sided, or a wrong derivative).
        norm: Frobenius norm of the derivative.
        error: |AD - differences| / |differences|, with the smaller of two steps.
    """

    stage: str
    wrt: str
    verdict: Verdict
    norm: float
    error: float


@dataclasses.dataclass(frozen=True)
class Report:
    """What the doctor found, and what to change; `str(report)` is a readable table."""

    findings: tuple[Finding, ...]
    advice: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """No derivative is off or not finite."""
        return all(f.verdict in ("ok", "zero") for f in self.findings)

    def __str__(self) -> str:
        lines = [f"{'stage':<18}{'with respect to':<18}{'verdict':<14}{'norm':>10}{'error':>10}"]
        for f in self.findings:
            lines.append(f"{f.stage:<18}{f.wrt:<18}{f.verdict:<14}{f.norm:>10.2g}{f.error:>10.1g}")
        return "\n".join(lines + [""] + [f"- {a}" for a in self.advice or ("nothing to change",)])


def check_gradients(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening | None = None,
    *,
    epsilon: float | None = None,
    tolerance: float | None = None,
) -> Report:
    """Examine the derivatives of one step at the state in `d`.

    Args:
        epsilon: step of the central differences; the default is the cube root of the rounding unit.
            A second step, four times smaller, tells jumps from errors. Use float64 for a sharp
            answer: in float32 differences of stiff contacts are good to a few per cent at best.
        tolerance: relative error up to which a derivative is "ok"; 1e-3 in float64, 0.1 in
            float32.
    """
    softening = Softening.hard() if softening is None else softening
    double = d.qpos.dtype == jnp.float64
    eps = float(jnp.finfo(d.qpos.dtype).eps) ** (1 / 3) if epsilon is None else epsilon
    tol = (1e-3 if double else 0.1) if tolerance is None else tolerance
    soft = dataclasses.replace(softening, gradient_only=False)
    stages = _stages(m, d, soft)
    inputs = {"position": m.nv, "velocity": m.nv, "activation": m.na, "control": m.nu}
    at = jnp.zeros(sum(inputs.values()), d.qpos.dtype)
    exact, contact = jax.jit(jax.jacfwd(stages, has_aux=True))(at)
    batched = jax.jit(jax.vmap(lambda z: stages(z)[0]))
    coarse, fine = _differences(batched, at, 4 * eps), _differences(batched, at, eps)

    bounds = np.cumsum([0, *inputs.values()])
    findings = [
        _find(stage, wrt, [np.asarray(j[stage])[:, lo:hi] for j in (exact, coarse, fine)], tol)
        for stage in exact
        for wrt, lo, hi in zip(inputs, bounds[:-1], bounds[1:])
        if hi > lo and exact[stage].shape[0]
    ]
    advice = (*stopped_short(m, d, soft), *_advice(m, softening, contact, findings))
    return Report(tuple(findings), advice)


def _stages(
    m: mjx.Model, d: mjx.Data, softening: Softening
) -> Callable[[Float[Array, " k"]], tuple[dict[str, Array], Contact]]:
    """The outputs of every stage, flat, and the contacts, at a displacement of all inputs."""
    check_inputs(m, d)

    def run(z: Float[Array, " k"]) -> tuple[dict[str, Array], Contact]:
        dq, dv, da, du = jnp.split(z, np.cumsum([m.nv, m.nv, m.na]))
        x = d.replace(
            qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())),
            qvel=d.qvel + dv,
            act=d.act + da,
            ctrl=d.ctrl + du,
        )
        y = advance(m, x, lambda d: accelerate(m, d, softening))
        contact = collide(m, y, softening)
        moved = difference_pos(m, d.qpos, y.qpos)
        stages = {
            "poses": (y.xpos, y.xmat),
            "contacts": (contact.dist, contact.pos, contact.frame, contact.weight),
            "constraint rows": (y._impl.efc_J, y._impl.efc_D, y._impl.efc_aref),
            "smooth forces": (y.qfrc_smooth,),
            "acceleration": (y.qacc,),
            "next state": (moved, y.qvel, y.act),
        }
        flat = lambda parts: jnp.concatenate([jnp.ravel(p) for p in parts])
        return {name: flat(parts) for name, parts in stages.items()}, contact

    return run


def _differences(
    stages: Callable[[Float[Array, "b k"]], dict[str, Array]], at: Float[Array, " k"], h: float
) -> dict[str, np.ndarray]:
    shifts = h * jnp.eye(at.size, dtype=at.dtype)
    plus, minus = stages(at + shifts), stages(at - shifts)
    return {name: np.asarray((plus[name] - minus[name]) / (2 * h)).T for name in plus}


def _find(stage: str, wrt: str, derivatives: list[np.ndarray], tol: float) -> Finding:
    exact, coarse, fine = derivatives
    scale = max(float(np.linalg.norm(fine)), np.finfo(fine.dtype).tiny)
    norm, miss = float(np.linalg.norm(exact)), float(np.linalg.norm(exact - fine))
    coarse_miss = float(np.linalg.norm(exact - coarse))
    error = miss / scale
    # differences converge like the square of their step, and grow like its inverse at a jump
    converging = miss < 0.35 * coarse_miss and error < 0.1
    if not np.isfinite(exact).all():
        verdict: Verdict = "not finite"
    elif norm == 0 and not np.any(fine):
        verdict, error = "zero", 0.0
    elif error <= tol or converging:
        verdict = "ok"
    else:
        verdict = "jump nearby" if miss > 1.5 * coarse_miss else "off"
    return Finding(stage, wrt, verdict, norm, error)


def _advice(
    m: mjx.Model, softening: Softening, contact: Contact, findings: list[Finding]
) -> Iterator[str]:
    """What to change, most urgent first."""
    broken = [f for f in findings if f.verdict == "not finite"]
    if broken:
        yield (
            f"the derivative of {broken[0].stage} with respect to {broken[0].wrt} is the first "
            "that is not finite: look at this stage, and report it if the model and state are valid"
        )
    for verdict, words in (
        ("jump nearby", "the value itself jumps or kinks here: soften `collision` and `mask`"),
        ("off", "differences settle on another value: a kink at this state, or a wrong derivative"),
    ):
        stages = sorted({f.stage for f in findings if f.verdict == verdict})
        if stages:
            yield f"{', '.join(stages)}: {words}"
    yield from _contact_advice(m, softening, contact)


def _contact_advice(m: mjx.Model, softening: Softening, contact: Contact) -> Iterator[str]:
    gap = np.asarray(contact.dist - contact.includemargin)[np.asarray(contact.presence) > 0]
    reach = float(softening.reach)
    if not gap.size:
        return
    if gap.min() > reach:
        yield (
            f"no contact is active: the nearest is {gap.min():.3g} m away, and no gradient feels "
            f"it; set reach above that (it is {reach:.3g} m)"
        )
    onset = np.asarray(contact.solimp)[:, 0]
    if (onset > 0).any() and softening.mask.mode == "hard":
        yield (
            f"solimp[0] is {onset.max():.3g}: contact forces switch on with a jump; 0 makes them "
            "start smoothly (MuJoCo documentation, solimp), or soften `mask`"
        )
    timeconst = np.asarray(contact.solref)[:, 0]
    dt = float(m.opt.timestep)
    stiff = timeconst[timeconst > 0]
    if stiff.size and dt > stiff.min() / 5:
        yield (
            f"timestep {dt:.3g} s is long for a contact time constant of {stiff.min():.3g} s: the "
            "gradient follows the discrete steps, not the motion; take a shorter step or Adaptive"
        )
    at_edge = np.abs(gap) < 1e-6
    if at_edge.any() and softening.mask.mode == "hard":
        yield f"{int(at_edge.sum())} contacts just touch: the hard derivative is one-sided there"
