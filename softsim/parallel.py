"""Batches spread over devices and hosts: the same code for one device and for many.

Simulations in a batch do not talk to each other, so each device gets its share of the batch and
runs on its own; the iterative solver of one never waits for another's. On several hosts call
`jax.distributed.initialize` first, give every process its own part of the batch to `spread`, and
run the same program everywhere.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

_AXIS = "batch"


def _mesh(devices: Sequence[jax.Device] | None) -> Mesh:
    return Mesh(np.asarray(jax.devices() if devices is None else devices), (_AXIS,))


def spread(batch: Any, devices: Sequence[jax.Device] | None = None) -> Any:
    """Spread the leading axis of every leaf over the devices.

    Args:
        batch: pytree of arrays with one leading batch axis. On several hosts: this process's part.
        devices: all devices of all hosts if None.

    Returns:
        The same pytree, as arrays of the whole batch.

    Raises:
        ValueError: the batch does not divide by the number of devices it is spread over.
    """
    mesh = _mesh(devices)
    local = len(mesh.local_devices)
    for path, leaf in jax.tree_util.tree_leaves_with_path(batch):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] % local:
            name = jax.tree_util.keystr(path)
            raise ValueError(
                f"batch{name}: got shape {np.shape(leaf)}, expected a leading axis that divides by "
                f"the {local} devices of this process"
            )
    sharding = NamedSharding(mesh, PartitionSpec(_AXIS))
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def parallel_vmap(
    f: Callable, in_axes: Any = 0, devices: Sequence[jax.Device] | None = None
) -> Callable:
    """`jax.vmap` with the batch split over devices; to be called under `jax.jit`.

    Differentiates like `vmap`: the gradient of an argument that is shared by the batch (`in_axes`
    None) is summed over devices and hosts.

    Args:
        f: a function of one simulation, such as a loss of `softsim.rollout`.
        in_axes: 0 (batched) or None (shared by all), for all arguments or for each.
        devices: all devices of all hosts if None.

    Returns:
        A function of arguments with a leading batch axis, which must divide by the number of
        devices; its results have that axis too.

    Raises:
        ValueError: `in_axes` holds something else than 0 and None.
    """
    axes = in_axes if isinstance(in_axes, tuple) else None
    for axis in axes or (in_axes,):
        if axis not in (0, None):
            raise ValueError(f"in_axes: got {axis!r}, expected 0 or None")
    mesh = _mesh(devices)
    spec = lambda axis: PartitionSpec(_AXIS) if axis == 0 else PartitionSpec()

    def mapped(*args: Any) -> Any:
        chosen = axes or (in_axes,) * len(args)
        return jax.shard_map(
            jax.vmap(f, in_axes=chosen),
            mesh=mesh,
            in_specs=tuple(map(spec, chosen)),
            out_specs=PartitionSpec(_AXIS),
            check_vma=False,
        )(*args)

    return mapped
