"""How a gradient's time and memory grow with horizon, batch, bodies and contacts."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

import softsim
from experiments.bench.timing import lower_and_compile, temp_mb, timed

HORIZONS = (10, 30, 100, 300, 1000)
BATCHES = (1, 4, 16, 64, 256, 1024, 4096)
SIZES = (1, 2, 4, 8, 16, 32)
LONG_BATCH = 64

Row = dict[str, Any]


def chain(bodies: int) -> str:
    """A hanging chain of hinged capsules that touch nothing."""
    link = (
        '<body pos="0 0 -.2"><joint axis="0 1 0" damping=".1"/>'
        '<geom type="capsule" fromto="0 0 0 0 0 -.2" size=".03" contype="0" conaffinity="0"/>'
    )
    return f"<mujoco><worldbody>{link * bodies}{'</body>' * bodies}</worldbody></mujoco>"


def feet(contacts: int) -> str:
    """One free body that stands on a plane on that many spheres."""
    spheres = "".join(
        f'<geom type="sphere" size=".05" mass=".1" pos="{0.2 * (i % 8)} {0.2 * (i // 8)} 0"/>'
        for i in range(contacts)
    )
    return (
        '<mujoco><option iterations="4" ls_iterations="8"/><worldbody>'
        '<geom type="plane" size="9 9 1"/>'
        f'<body pos="0 0 .0495"><freejoint/>{spheres}</body></worldbody></mujoco>'
    )


def _loaded(mj_model: mujoco.MjModel) -> tuple[mjx.Model, mjx.Data]:
    mj_data = mujoco.MjData(mj_model)
    mj_data.qvel[:] = 0.1
    return softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)


def _rollout_gradient(
    m: mjx.Model, d: mjx.Data, steps: int, segment: int | None
) -> Callable[[jax.Array], jax.Array]:
    """Derivative of the height and place at the end with respect to the first velocity."""
    ctrl = jnp.zeros((steps, m.nu))

    def loss(qvel: jax.Array) -> jax.Array:
        _, path = softsim.rollout(m, d.replace(qvel=qvel), ctrl, segment=segment)
        return jnp.sum(path.qpos[-1, :3])

    return jax.grad(loss)


def _rollout_row(
    kind: str, state: tuple[mjx.Model, mjx.Data], steps: int, batch: int, segment: int | None
) -> Row:
    m, d = state
    v = jnp.broadcast_to(d.qvel, (batch, m.nv))
    f = jax.vmap(_rollout_gradient(m, d, steps, segment))
    compiled = jax.jit(f).lower(v).compile()
    return {
        "kind": kind,
        "steps": steps,
        "batch": batch,
        "segment": segment or 0,
        "gradient run": timed(compiled, (v,), 3),
        "gradient temp MB": temp_mb(compiled),
    }


def _size_row(kind: str, size: int, xml: str) -> Row:
    """Compile and run time of one step, forward and gradient."""
    m, d = _loaded(mujoco.MjModel.from_xml_string(xml))

    def forward(qvel: jax.Array) -> jax.Array:
        return softsim.step(m, d.replace(qvel=qvel)).qvel

    row: Row = {"kind": kind, "size": size}
    for name, f in (("forward", forward), ("gradient", jax.grad(lambda v: jnp.sum(forward(v))))):
        compiled, _, row[f"{name} compile"] = lower_and_compile(f, (d.qvel,))
        row[f"{name} run"] = timed(compiled, (d.qvel,), 3)
    return row


def _long_rows(humanoid: tuple[mjx.Model, mjx.Data]) -> Iterator[Row]:
    """Planned memory of long gradients of the humanoid, and whether the longest is finite."""
    m, d = humanoid
    for steps in (100, 300, 1000):
        segment = round(steps**0.5)
        f = _rollout_gradient(m, d, steps, segment)
        v = jnp.broadcast_to(d.qvel, (LONG_BATCH, m.nv))
        compiled = jax.jit(jax.vmap(f)).lower(v).compile()
        row: Row = {
            "kind": "humanoid",
            "steps": steps,
            "batch": LONG_BATCH,
            "segment": segment,
            "gradient temp MB": temp_mb(compiled),
        }
        if steps == 1000:
            gradient = compiled(v + 0.01 * jax.random.normal(jax.random.key(0), v.shape))
            row["finite gradients"] = float(jnp.mean(jnp.isfinite(gradient).all(axis=-1)))
            row["largest gradient"] = float(jnp.max(jnp.abs(gradient)))
        yield row


def growth(box: tuple[mjx.Model, mjx.Data], humanoid: tuple[mjx.Model, mjx.Data]) -> Iterator[Row]:
    """All rows, one by one: they take long, and what is measured can be stored."""
    for steps in HORIZONS:
        for segment in (None, 1, max(1, round(steps**0.5))):
            yield _rollout_row("horizon", box, steps, 16, segment)
    for batch in BATCHES:
        yield _rollout_row("batch", box, 10, batch, None)
    for n in SIZES:
        yield _size_row("bodies", n, chain(n))
        yield _size_row("contacts", n, feet(n))
    yield from _long_rows(humanoid)
