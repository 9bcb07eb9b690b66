"""From MuJoCo to MJX: `put_model` refuses what would be ignored or fail later, by name."""

import copy
from collections.abc import Collection

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from softsim.collision.meshes import MAX_HULL_VERTICES, convex_meshes
from softsim.follow import FOLLOW, Follow, with_follow
from softsim.layout import allocate, has_room_of_mjx, unknown_contacts
from softsim.names import Element, name_to_id
from softsim.noslip import Option
from softsim.notice import tell_few_iterations
from softsim.supported import UnsupportedModelError, find_unsupported, unknown_sensors


def put_model(
    mj_model: mujoco.MjModel,
    *,
    follow: Follow = "mjx",
    maxhullvert: int = MAX_HULL_VERTICES,
    ignore: Collection[str] = (),
) -> mjx.Model:
    """The model on the default device, as an `mjx.Model` of the JAX implementation.

    Float leaves have the dtype of `jax_enable_x64`. Inertia and Jacobians are stored dense, the
    solver PGS becomes Newton (both seek the same optimum), and hulls of colliding meshes with more
    than `maxhullvert` vertices are simplified; the logger "softsim" says by how much.

    Args:
        follow: the engine to follow where MJX and MuJoCo C differ by choice, "mjx" or "mujoco";
            `docs/supported.md` lists where.
        maxhullvert: vertices of a mesh's convex hull, at least 4, or -1 for all of them, as in
            MuJoCo's attribute of the same name. A pair of meshes tests all pairs of their edges:
            its cost grows with the square.
        ignore: features to leave out, by the words that the refusal gives. The model then moves as
            if it did not have them; an ignored sensor reads 0.

    Raises:
        UnsupportedModelError: names the element and the feature that softsim does not simulate.
        ValueError: an argument is none of the above.
    """
    if follow not in FOLLOW:
        raise ValueError(f"follow: got {follow!r}, expected one of {', '.join(FOLLOW)}")
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
        opt=_options(m.opt, mj_model.opt),
    )
    hulls = jax.device_put(convex_meshes(mj_model, maxhullvert), _device())
    tell_few_iterations(mj_model)
    return with_follow(_default_float(m.tree_replace({"_impl.mesh_convex": hulls})), follow)


def make_data(m: mjx.Model, *, keyframe: Element | None = None) -> mjx.Data:
    """The state at `m.qpos0` with zero velocity, or at a keyframe, as an `mjx.Data`.

    Args:
        keyframe: the name or id of a `<key>` of the model: its time, qpos, qvel, act, ctrl and
            mocap poses are taken. None for the state that `mj_resetData` gives.

    Raises:
        ValueError: the model has no such keyframe.
    """
    with jax.ensure_compile_time_eval():  # what the arrays of m hold decides no shape
        known = jax.tree.map(lambda x: np.zeros(jnp.shape(x), jnp.asarray(x).dtype), m)
        d = _default_float(allocate(known, _device()))
    mocap = np.argsort(m.body_mocapid)[m.nbody - m.nmocap :]
    d = d.replace(qpos=m.qpos0, mocap_pos=m.body_pos[mocap], mocap_quat=m.body_quat[mocap])
    if keyframe is None:
        return d
    k = name_to_id(m, "keyframe", keyframe)
    fields = {
        "time": m.key_time, "qpos": m.key_qpos, "qvel": m.key_qvel, "act": m.key_act,
        "ctrl": m.key_ctrl, "mocap_pos": m.key_mpos, "mocap_quat": m.key_mquat,
    }  # fmt: skip
    shaped = {
        name: jnp.asarray(np.reshape(value[k], getattr(d, name).shape), d.qpos.dtype)
        for name, value in fields.items()
    }
    return d.replace(**shaped)


def put_data(model: mujoco.MjModel | mjx.Model, mj_data: mujoco.MjData) -> mjx.Data:
    """`mj_data` as an `mjx.Data`, for the model in either form.

    An `MjModel` does not know whether it is to follow MuJoCo C, which has more contacts for some
    pairs of geoms. Its data can be stepped all the same, but the contacts that a step leaves in it
    are then NaN: give the `mjx.Model` where you want to read them, or call `softsim.collide`.

    Only the inputs of a step are copied (state, controls, applied forces, mocap poses, activity of
    equality constraints, warm start); what follows from them is zero until a step computes it.

    Raises:
        ValueError: if a copied field holds NaN or infinity, or does not belong to `model`.
    """
    d = _default_float(allocate(model, _device()))
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
    plain.opt.integrator = mujoco.mjtIntegrator.mjINT_EULER  # with which MJX takes a fluid
    plain.opt.enableflags &= sum(mjx.EnableBit)
    if plain.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        plain.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    plain.geom_type[:] = mujoco.mjtGeom.mjGEOM_SPHERE
    plain.sensor_type[unknown_sensors(plain)] = mujoco.mjtSensor.mjSENS_CLOCK
    return plain


def _options(opt: mjx.Option, mj_opt: mujoco.MjOption) -> Option:
    """MJX's options with the model's own integrator, and those of noslip."""
    return Option(
        **vars(opt) | {"integrator": mjx.IntegratorType(mj_opt.integrator)},
        noslip_iterations=int(mj_opt.noslip_iterations),
        noslip_tolerance=jnp.asarray(mj_opt.noslip_tolerance),
    )


def _default_float(tree):
    """Floats in the default dtype, so that none stays behind in 32 bits, and no array bound to a
    device: a program that mixes bound arrays with others compiles for both.
    """
    dtype = jnp.zeros(()).dtype

    def cast(x):
        kind = dtype if jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating) else None
        return jnp.asarray(x if isinstance(x, jax.core.Tracer) else np.asarray(x), kind)

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


def like_given(m: mjx.Model, given: mjx.Data, made: mjx.Data) -> mjx.Data:
    """`made` with the dtypes of `given`, so that loops over steps carry one and the same pytree.

    Contacts are NaN where `given` has no room for all of them, see `put_data`.

    Raises:
        ValueError: names the first array whose shape differs: `given` belongs to another model.
    """

    def cast(path: tuple, old: jax.Array, new: jax.Array) -> jax.Array:
        if jnp.shape(old) != jnp.shape(new):
            raise ValueError(
                f"d{jax.tree_util.keystr(path)}: got shape {jnp.shape(old)}, expected "
                f"{jnp.shape(new)} for this model; make d with softsim.make_data(m) or "
                "softsim.put_data(mj_model, mj_data)"
            )
        return jnp.asarray(new, jnp.asarray(old).dtype)

    if has_room_of_mjx(m, given):
        made = unknown_contacts(given, made)
    return jax.tree_util.tree_map_with_path(cast, given, made)


def refuse_not_finite(name: str, value: np.ndarray) -> None:
    """Raise a ValueError that names the first entry that is NaN or infinite."""
    bad = np.flatnonzero(~np.isfinite(value))
    if bad.size:
        entry = f", entry {bad[0]}," if value.ndim else ""
        raise ValueError(f"{name}{entry} is {value.flat[bad[0]]}, expected a finite number")
