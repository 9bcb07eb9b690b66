"""The constraints of a step that begin and end: contacts and limits, read from the step's data.

One *switch* is one limit or one contact, whatever number of rows it has: it is on while its
violation is negative, and its force is that of all its rows.
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx

from softsim.constraint.assembly import rows_of
from softsim.constraint.friction_limit import limit_parameters
from softsim.constraint.rows import Rows, impedance, spring_damper


class Switches:
    """The k switches among the rows of a step.

    Attributes:
        pair: static (2, k); the mean of these two rows is a switch's normal row: of a pyramid two
            opposing edges, of anything else its first row twice.
        owner: static (nefc,), the switch that a row belongs to, k for rows that never switch.
    """

    def __init__(self, m: mjx.Model, d: mjx.Data) -> None:
        contact, rows = d._impl.contact, rows_of(m, d)
        elliptic = m.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
        dim = np.asarray(contact.dim, int)
        in_contact = np.where(dim == 1, 1, dim if elliptic else 2 * (dim - 1))
        if rows.ne + rows.nf + rows.nl == rows.n:  # contacts are disabled
            in_contact = in_contact[:0]
        size = np.concatenate([np.ones(rows.nl, int), in_contact])
        start = rows.ne + rows.nf
        first = start + np.cumsum(np.concatenate([[0], size]))[:-1].astype(int)
        edges = np.concatenate([np.zeros(rows.nl, int), (in_contact > 1) & (not elliptic)])
        self.pair: Int[np.ndarray, "2 k"] = np.stack([first, first + edges.astype(int)])
        count = len(size)
        self.owner: Int[np.ndarray, " nefc"] = np.concatenate(
            [np.full(start, count), np.repeat(np.arange(count), size)]
        )
        self._parameters = limit_parameters(m), (contact.solref, contact.solimp)

    @property
    def count(self) -> int:
        """Number of switches."""
        return self.pair.shape[1]

    def normal(self, per_row: Float[Array, "nefc ..."]) -> Float[Array, "k ..."]:
        """The normal component of a quantity of rows."""
        return 0.5 * (per_row[self.pair[0]] + per_row[self.pair[1]])

    def of_row(self, per_switch: Float[Array, " k"]) -> Float[Array, " nefc"]:
        """A quantity of switches for each of their rows, 0 for rows that never switch."""
        return jnp.append(per_switch, jnp.zeros((), per_switch.dtype))[self.owner]

    def sum(self, per_row: Float[Array, "nefc ..."]) -> Float[Array, "k ..."]:
        """The sum over the rows of each switch."""
        return jax.ops.segment_sum(per_row, self.owner, self.count + 1)[:-1]

    def springs(self, m: mjx.Model, rows: Rows) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
        """How the reference acceleration falls with violation (1/s^2) and with velocity (1/s)."""
        count = self.count - self._parameters[0][0].shape[0]
        solref, solimp = (
            jnp.concatenate([limit, contact[:count]]) for limit, contact in zip(*self._parameters)
        )
        violation = self.normal(rows.pos - rows.margin)
        k, b = spring_damper(m, solref, solimp)
        spring = lambda p: k * impedance(solimp, p) * p
        return jax.jvp(spring, (violation,), (jnp.ones_like(violation),))[1], b
