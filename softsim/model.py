"""From MuJoCo to MJX: `put_model` refuses what would be ignored or fail later, by name."""

import copy
from collections.abc import Collection

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from softsim.collision.meshes import MAX_HULL_VERTICES, convex_meshes
from softsim.layout import allocate
from softsim.noslip import Option
from softsim.supported import UnsupportedModelError, find_unsupported, unknown_sensors


def put_model(
    mj_model: mujoco.MjModel, *, maxhullvert: int = MAX_HULL_VERTICES, ignore: Collection[str] = ()
) -> mjx.Model:
    """The model on the default device, as an `mjx.Model` of the JAX implementation.

    Float leaves have the dtype of `jax_enable_x64`. Inertia and Jacobians are stored dense, the
    solver PGS becomes Newton (both seek the same optimum), and hulls of colliding meshes with more
    than `maxhullvert` vertices are simplified; the logger "softsim" says by how much.

    Args:
        maxhullvert: vertices of a mesh's convex hull, at least 4, or -1 for all of them, as in
            MuJoCo's attribute of the same name. A pair of meshes tests all pairs of their edges:
            its cost grows with the square.
        ignore: features to leave out, by the words that the refusal gives. The model then moves as
            if it did not have them; an ignored sensor reads 0.

    Raises:
        UnsupportedModelError: names the element and the feature that softsim does not simulate.
        ValueError: an argument is none of the above.
    """
    if not isinstance(mj_model, mujoco.MjModel):
        raise ValueError(f"mj_model: got {type(mj_model).__name__}, expected mujoco.MjModel")
    if maxhullvert != -1 and maxhullvert < 4:
        raise ValueError(f"maxhullvert: got {maxhullvert}, expected at least 4, or -1 for no limit")
    if problems := find_unsupported(mj_model, ignore):
        raise UnsupportedModelError(problems)
    try:
        m = mjx.put_model(_presentable(mj_model), device=_device(), impl="jax")
    except NotImplementedError as error:  # what MJX refuses and `CHECKS` does not know
        raise UnsupportedModelError([f"MJX says: {error}"]) from error
    stages = mj_model.sensor_needstage.copy()
    stages[unknown_sensors(mj_model)] = mujoco.mjtStage.mjSTAGE_NONE
    m = m.replace(
        geom_type=mj_model.geom_type.copy(),
        sensor_type=mj_model.sensor_type.copy(),
        sensor_needstage=stages,
        opt=_with_noslip(m.opt, mj_model.opt),
    )
    hulls = jax.device_put(convex_meshes(mj_model, maxhullvert), _device())
    return _default_float(m.tree_replace({"_impl.mesh_convex": hulls}))


def make_data(m: mjx.Model) -> mjx.Data:
    """The state at `m.qpos0` with zero velocity, as an `mjx.Data`."""
    return _default_float(allocate(m, _device()))


def put_data(mj_model: mujoco.MjModel, mj_data: mujoco.MjData) -> mjx.Data:
    """`mj_data` as an `mjx.Data`.

    Only the inputs of a step are copied (state, controls, applied forces, mocap poses, activity of
    equality constraints, warm start); what follows from them is zero until a step computes it.

    Raises:
        ValueError: if a copied field holds NaN or infinity, or does not belong to `mj_model`.
    """
    d = _default_float(allocate(mj_model, _device()))
    fields = {}
    for name in INPUTS:
        value = np.asarray(getattr(mj_data, name))
        like = jnp.asarray(getattr(d, name))
        if value.shape != like.shape:
            raise ValueError(f"mj_data.{name}: got shape {value.shape}, expected {like.shape}")
        refuse_not_finite(f"mj_data.{name}", value)
        # a copy: on the CPU JAX would otherwise see what MuJoCo writes there later
        fields[name] = jnp.array(np.array(value), like.dtype)
    return d.replace(**fields)


# what a step reads
STATE = ("time", "qpos", "qvel", "act", "qacc_warmstart")
CONTROLS = (
    "ctrl",
    "qfrc_applied",
    "xfrc_applied",
    "mocap_pos",
    "mocap_quat",
    "eq_active",
)
INPUTS = STATE + CONTROLS


def _device() -> jax.Device:
    """Where JAX puts arrays by default; MJX would take the first device of all hosts."""
    with jax.ensure_compile_time_eval():
        return next(iter(jnp.zeros(()).devices()))


def _presentable(mj_model: mujoco.MjModel) -> mujoco.MjModel:
    """A copy that MJX takes: what it would refuse or build and softsim does itself is left out.

    Among spheres MJX knows every collider, and builds no hulls.
    """
    plain = copy.copy(mj_model)
    plain.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    plain.opt.enableflags &= sum(mjx.EnableBit)
    if plain.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        plain.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    plain.geom_type[:] = mujoco.mjtGeom.mjGEOM_SPHERE
    plain.sensor_type[unknown_sensors(plain)] = mujoco.mjtSensor.mjSENS_CLOCK
    return plain


def _with_noslip(opt: mjx.Option, mj_opt: mujoco.MjOption) -> Option:
    return Option(
        **vars(opt),
        noslip_iterations=int(mj_opt.noslip_iterations),
        noslip_tolerance=jnp.asarray(mj_opt.noslip_tolerance),
    )


def _default_float(tree):
    """Every inexact JAX leaf in the default float dtype, so that none stays behind in 32 bits."""
    dtype = jnp.zeros(()).dtype

    def cast(x):
        inexact = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
        return x.astype(dtype) if inexact else x

    return jax.tree.map(cast, tree)


def check_inputs(m: mjx.Model, d: mjx.Data) -> None:
    """Refuse inputs of a step with a wrong shape or dtype or, where they are known, not finite.

    Raises:
        ValueError: names the field, what it is and what was expected.
    """
    sizes = {
        "time": (), "qpos": (m.nq,), "qvel": (m.nv,), "act": (m.na,), "qacc_warmstart": (m.nv,),
        "ctrl": (m.nu,), "qfrc_applied": (m.nv,), "xfrc_applied": (m.nbody, 6),
        "mocap_pos": (m.nmocap, 3), "mocap_quat": (m.nmocap, 4), "eq_active": (m.neq,),
    }  # fmt: skip
    dtype = m.qpos0.dtype
    for name in INPUTS:
        value = getattr(d, name)
        if jnp.shape(value) != sizes[name]:
            raise ValueError(f"d.{name}: got shape {jnp.shape(value)}, expected {sizes[name]}")
        if name != "eq_active" and jnp.asarray(value).dtype != dtype:
            raise ValueError(
                f"d.{name}: got dtype {jnp.asarray(value).dtype}, expected {dtype} as in the model"
            )
        if not isinstance(value, jax.core.Tracer):
            refuse_not_finite(f"d.{name}", np.asarray(value))


def refuse_not_finite(name: str, value: np.ndarray) -> None:
    """Raise a ValueError that names the first entry that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(value))
    if bad.size:
        entry = f", entry {bad[0]}," if value.ndim else ""
        raise ValueError(f"{name}{entry} is {value.flat[bad[0]]}, expected a finite number")
