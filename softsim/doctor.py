"""The gradient doctor: where a step's derivative is not finite, zero or off, and what to change.

Every stage of a step (poses, contacts, constraint rows, forces, acceleration, next state) is
differentiated with respect to every input (position, velocity, activation, control) and compared
with differences on both sides (`softsim/differences.py`), which tell a kink or a jump at this
state, where a derivative is one-sided, from a derivative that is wrong. What no force feels,
inactive rows and distant contacts, must be finite but may bend and jump.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco import mjx

from softsim import differences, elements
from softsim.acceleration import accelerate
from softsim.collision import Contact, collide
from softsim.convergence import stopped_short
from softsim.differences import Judgement, Samples
from softsim.integrators import advance, difference_pos, integrate_pos
from softsim.layout import with_room
from softsim.model import check_inputs
from softsim.softening import Softening

Verdict = Literal["ok", "zero", "kink", "jump nearby", "off", "not finite"]
Stages = dict[str, dict[str, Array]]  # stage: part: numbers
LISTED = 3  # input elements named in a finding; the others are counted


@dataclasses.dataclass(frozen=True)
class Finding:
    """One stage with respect to one input.

    Attributes:
        stage: what was differentiated.
        wrt: with respect to which input.
        verdict: "ok"; "zero" (nothing depends on this input); "kink" (slopes on both sides of this
            state differ, and the derivative is one of them or between); "jump nearby" (a
            difference grows as its step shrinks: the value jumps); "off" (differences settle
            elsewhere: the derivative is wrong); "not finite".
        norm: Frobenius norm of the derivative.
        error: largest |AD - differences| of an entry, relative to the largest difference of its
            part (distances, positions, ...); nan where something is not finite.
        where: the entries of the input, by element, and the first entry of the stage that the
            verdict is about; empty for "ok" and "zero".
    """

    stage: str
    wrt: str
    verdict: Verdict
    norm: float
    error: float
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """What the doctor found, and what to change; `str(report)` is a readable table."""

    findings: tuple[Finding, ...]
    advice: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        """Every derivative is finite and right on both sides of the state."""
        return all(f.verdict in ("ok", "zero") for f in self.findings)

    def __str__(self) -> str:
        lines = [f"{'stage':<18}{'with respect to':<18}{'verdict':<14}{'norm':>10}{'error':>10}"]
        for f in self.findings:
            norm = f"{f.norm:.2g}" if np.isfinite(f.norm) else "-"
            error = f"{f.error:.1g}" if np.isfinite(f.error) else "-"
            lines.append(f"{f.stage:<18}{f.wrt:<18}{f.verdict:<14}{norm:>10}{error:>10}")
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
        epsilon: step of the differences; the default is the cube root of the rounding unit.
            A second step, four times longer, tells kinks and jumps from errors. Use float64 for a
            sharp answer: in float32 differences of stiff contacts are good to a few per cent at
            best.
        tolerance: relative error up to which a derivative is "ok"; 1e-3 in float64, 0.1 in
            float32. What rounding leaves of the differences is allowed beside it.
    """
    softening = Softening.hard() if softening is None else softening
    double = d.qpos.dtype == jnp.float64
    eps = float(jnp.finfo(d.qpos.dtype).eps) ** (1 / 3) if epsilon is None else epsilon
    tol = (1e-3 if double else 0.1) if tolerance is None else tolerance
    check_inputs(m, d)
    d = with_room(m, d)
    soft = dataclasses.replace(softening, gradient_only=False)
    names = {
        "position": elements.dofs(m),
        "velocity": elements.dofs(m),
        "activation": elements.activations(m),
        "control": elements.actuators(m),
    }
    k = sum(map(len, names.values()))
    z = differences.steps(k, eps, d.qpos.dtype)
    exact, contact = _differentiate(m, d, soft, z[0])
    parts = _parts(m, d, softening, contact, exact, _evaluate(m, d, soft, z))
    findings, first = [], 0
    for wrt, entries in names.items():
        inputs = slice(first, first + len(entries))
        first += len(entries)
        found = (_find(s, wrt, inputs, entries, parts[s], eps, tol) for s in parts)
        findings += [finding for finding in found if finding is not None]
    findings.sort(key=lambda f: list(parts).index(f.stage))
    advice = _advice(m, d, softening, contact, findings, eps)
    return Report(tuple(findings), (*stopped_short(m, d, soft), *advice))


def _stages(
    m: mjx.Model, d: mjx.Data, softening: Softening, z: Float[Array, " k"]
) -> tuple[Stages, Contact]:
    """The outputs of every stage, and the contacts, at a displacement of all inputs."""
    dq, dv, da, du = jnp.split(z, np.cumsum([m.nv, m.nv, m.na]))
    x = d.replace(
        qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())),
        qvel=d.qvel + dv,
        act=d.act + da,
        ctrl=d.ctrl + du,
    )
    y, _ = advance(m, x, lambda d: accelerate(m, d, softening))
    c = collide(m, y, softening)
    stages = {
        "poses": {"positions": y.xpos, "rotations": y.xmat},
        "contacts": {
            "distances": c.dist,
            "positions": c.pos,
            "frames": c.frame,
            "weights": c.weight,
        },
        "constraint rows": {
            "Jacobians": y._impl.efc_J,
            "regularisations": y._impl.efc_D,
            "references": y._impl.efc_aref,
        },
        "smooth forces": {"forces": y.qfrc_smooth},
        "acceleration": {"accelerations": y.qacc},
        "next state": {
            "positions": difference_pos(m, d.qpos, y.qpos),
            "velocities": y.qvel,
            "activations": y.act,
        },
    }
    return jax.tree.map(jnp.ravel, stages), c


# compiled once for all states of a model
_differentiate = jax.jit(jax.jacfwd(_stages, argnums=3, has_aux=True))
_evaluate = jax.jit(jax.vmap(lambda *x: _stages(*x)[0], in_axes=(None, None, None, 0)))


class _Part(NamedTuple):
    """One kind of numbers of a stage: n of them by k inputs."""

    name: str
    exact: Float[np.ndarray, "n k"]
    seen: Samples
    felt: Bool[np.ndarray, " n"]  # a force depends on it
    elements: list[str]

    def element(self, entry: int) -> str:
        """The element that an entry belongs to."""
        return self.elements[entry * len(self.elements) // len(self.exact)]


def _parts(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
    contact: Contact,
    exact: Stages,
    moved: Stages,
) -> dict[str, list[_Part]]:
    """Derivatives and differences of every stage, in numpy, with names."""
    values = {stage: {n: np.asarray(v) for n, v in of.items()} for stage, of in moved.items()}
    edge = np.asarray(contact.includemargin) + float(softening.reach)
    near = values["contacts"]["distances"] < edge
    felt_contact = np.any(near | (values["contacts"]["weights"] > 0), axis=0)
    active = np.any(values["constraint rows"]["regularisations"] > 0, axis=0)
    everywhere = np.ones(1, bool)
    dof = elements.dofs(m)
    about: dict[str, tuple[Any, list[str]]] = {
        "poses": (everywhere, elements.bodies(m)),
        "contacts": (felt_contact, elements.geom_pairs(m, np.asarray(contact.geom))),
        "constraint rows": (active, elements.rows(np.asarray(d._impl.efc_type))),
        "smooth forces": (everywhere, dof),
        "acceleration": (everywhere, dof),
        "next state": (everywhere, dof),
    }
    parts: dict[str, list[_Part]] = {}
    for stage, (felt, names) in about.items():  # in the order of a step, which jit has not kept
        parts[stage] = [
            _Part(
                name,
                np.asarray(J),
                differences.samples(values[stage][name]),
                np.repeat(felt, len(J) // len(felt)),
                elements.activations(m) if name == "activations" else names,
            )
            for name, J in exact[stage].items()
            if len(J)
        ]
    return parts


def _find(
    stage: str,
    wrt: str,
    inputs: slice,
    entries: list[str],
    parts: list[_Part],
    h: float,
    tolerance: float,
) -> Finding | None:
    """What there is to say of a stage by an input; None if it has no numbers."""
    if not entries or not parts:
        return None
    norm = float(np.sqrt(sum(np.sum(np.square(p.exact[:, inputs])) for p in parts)))
    broken = next((w for p in parts if (w := _not_finite(p, inputs, entries))), "")
    if broken:
        return Finding(stage, wrt, "not finite", norm, float("nan"), broken)
    judged = []
    for p in parts:
        steepest = float(np.max(np.abs(p.exact), initial=0.0))
        seen, exact = p.seen.select(inputs, p.felt), p.exact[p.felt][:, inputs]
        found = differences.judge(exact, seen, h, steepest, tolerance)
        judged.append(_at_corner(found) if _bends(p, steepest, h, tolerance) > 1 else found)
    error = max(float(np.max(j.miss, initial=0.0)) / j.scale if j.scale else 0.0 for j in judged)
    order: tuple[tuple[Verdict, str], ...] = (
        ("off", "off"),
        ("jump nearby", "jump"),
        ("kink", "kink"),
    )
    for verdict, which in order:
        for p, j in zip(parts, judged):
            found = getattr(j, which)
            if found.any():
                where = _where(p, found, entries, np.flatnonzero(p.felt))
                return Finding(stage, wrt, verdict, norm, error, where)
    if all(j.zero for j in judged):
        return Finding(stage, wrt, "zero", 0.0, 0.0)
    return Finding(stage, wrt, "ok", norm, error)


def _bends(part: _Part, steepest: float, h: float, tolerance: float) -> int:
    """The number of inputs along which the slopes on both sides differ."""
    everything = part.seen.select(slice(None), part.felt)
    found = differences.judge(part.exact[part.felt], everything, h, steepest, tolerance)
    return int((found.bent | found.jump).any(axis=0).sum())


def _at_corner(found: Judgement) -> Judgement:
    """Where several kinks meet, a derivative that belongs to none of the slopes is not wrong.

    It may be that of a side which no single input leads to.
    """
    return found._replace(off=found.off & ~found.bent, kink=found.kink | (found.off & found.bent))


def _where(
    part: _Part, found: Bool[np.ndarray, "n k"], entries: list[str], outputs: np.ndarray
) -> str:
    """The inputs that are concerned, and the first number that is."""
    columns = list(dict.fromkeys(entries[j] for j in np.flatnonzero(found.any(axis=0))))
    more = f" and {len(columns) - LISTED} more" if len(columns) > LISTED else ""
    output = outputs[np.flatnonzero(found.any(axis=1))[0]]
    return f"{'; '.join(columns[:LISTED])}{more} ({part.name} of {part.element(output)})"


def _not_finite(part: _Part, inputs: slice, entries: list[str]) -> str:
    """The first number that is not finite and whose, empty if all are."""
    values = ~np.isfinite(part.seen.at)
    if values.any():
        return f"the value itself, {part.name} of {part.element(np.flatnonzero(values)[0])}"
    everything = np.arange(len(part.exact))
    derivative = ~np.isfinite(part.exact[:, inputs])
    if derivative.any():
        return _where(part, derivative, entries, everything)
    beside = ~np.isfinite(np.stack([x[inputs] for x in part.seen[1:]])).all(axis=0).T
    if beside.any():
        return "the value a small step away in " + _where(part, beside, entries, everything)
    return ""


def _advice(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
    contact: Contact,
    findings: list[Finding],
    h: float,
) -> Iterator[str]:
    """What to change, most urgent first."""
    broken = [f for f in findings if f.verdict == "not finite"]
    if broken:
        first = broken[0]
        yield from _bad_leaves(m)
        yield (
            f"{first.stage} by {first.wrt} is the first that is not finite: {first.where}; look at "
            "this element, and report it if the model and state are valid"
        )
    for verdict, words in (
        (
            "off",
            "differences settle on another value than the derivative, which is wrong; report it",
        ),
        ("jump nearby", "the value itself jumps here: soften `collision`, `mask` and `limit`"),
        ("kink", "the slopes on both sides of this state differ, the derivative is one-sided"),
    ):
        for wrt in dict.fromkeys(f.wrt for f in findings if f.verdict == verdict):
            some = [f for f in findings if (f.verdict, f.wrt) == (verdict, wrt)]
            yield f"{', '.join(f.stage for f in some)} by {wrt} of {some[0].where}: {words}"
    if any(f.verdict in ("jump nearby", "kink") for f in findings):
        yield from _at_bounds(m, d, h)
    yield from _contact_advice(m, softening, contact)


def _bad_leaves(m: mjx.Model) -> Iterator[str]:
    """Fields of the model that hold NaN or infinity: sums over the tree spread them everywhere."""
    fields = vars(m) | {f"opt.{name}": value for name, value in vars(m.opt).items()}
    for name, value in fields.items():
        if isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jnp.floating):
            bad = np.argwhere(~np.isfinite(np.asarray(value)))
            if bad.size:
                entry = "".join(f"[{i}]" for i in bad[0])
                yield f"{name}{entry} of the model is {value[tuple(bad[0])]}: give a finite value"


def _at_bounds(m: mjx.Model, d: mjx.Data, h: float) -> Iterator[str]:
    """Inputs that stand at the end of their range."""
    scalar = np.isin(m.jnt_type, (mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE))
    joints = np.flatnonzero(scalar & np.asarray(m.jnt_limited, bool))
    margin = np.asarray(m.jnt_margin)[joints, None] * [1, -1]
    with_state = np.flatnonzero(np.asarray(m.actuator_actlimited, bool) & (m.actuator_actadr >= 0))
    last = m.actuator_actadr + m.actuator_actnum - 1
    limited = np.flatnonzero(np.asarray(m.actuator_ctrllimited, bool))
    joint = lambda i: elements.element(m, mujoco.mjtObj.mjOBJ_JOINT, i)
    actuator = elements.actuators(m)
    for name, where, value, bounds in (
        ("the position", map(joint, joints), d.qpos[m.jnt_qposadr[joints]],
         np.asarray(m.jnt_range)[joints] + margin),
        ("the control", (actuator[i] for i in limited), d.ctrl[limited],
         np.asarray(m.actuator_ctrlrange)[limited]),
        ("the activation", (actuator[i] for i in with_state), d.act[last[with_state]],
         np.asarray(m.actuator_actrange)[with_state]),
    ):  # fmt: skip
        for element, x, ends in zip(where, np.asarray(value), bounds):
            for end, side in zip(ends, ("lower", "upper")):
                if abs(x - end) <= differences.WIDER * h:
                    yield f"{name} of {element} is at its {side} bound, {end:.6g}"


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
            f"timestep {dt:.3g} s is long for a contact time constant of {stiff.min():.3g} s: a "
            f"contact lasts about {stiff.min() / dt:.2g} steps, with fewer than five its outcome "
            f"has no slope to find; set timestep={stiff.min() / 5:.2g} or less, or take Adaptive"
        )
    at_edge = np.abs(gap) < 1e-6
    if at_edge.any() and softening.mask.mode == "hard":
        yield f"{int(at_edge.sum())} contacts just touch: the hard derivative is one-sided there"
