"""`Contact`, what collision hands to the constraints, and its parameters from the two geoms."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx

from softsim._mjx import MjxContact


class Contact(eqx.Module):
    """All n contacts of a model, in MJX's order.

    Attributes:
        dist: m, signed distance between the surfaces; negative in penetration.
        pos: m, world frame, midpoint between the surfaces.
        frame: rows: normal (from geom 1 to geom 2), two tangents.
        presence: in [0, 1], what the shapes say: unique in its manifold, a feature that is there.
        mask: in [0, 1], soft `dist < includemargin`.
        geom: the ids of the two geoms.
        dim: static, contact dimension (1, 3, 4 or 6) of each contact.
        includemargin: m, the contact is active below this distance.
        friction: sliding (2), torsional, rolling (2); at least mjMINMU.
        solref: time constant and damping ratio, or -stiffness and -damping.
        solreffriction: solref in the friction directions.
        solimp: impedance.
        efc_address: static, address in the constraint rows, as MJX assigns it.
    """

    dist: Float[Array, " n"]
    pos: Float[Array, "n 3"]
    frame: Float[Array, "n 3 3"]
    presence: Float[Array, " n"]
    mask: Float[Array, " n"]
    geom: Int[Array, "n 2"]
    includemargin: Float[Array, " n"]
    friction: Float[Array, "n 5"]
    solref: Float[Array, "n 2"]
    solreffriction: Float[Array, "n 2"]
    solimp: Float[Array, "n 5"]
    dim: tuple[int, ...] = eqx.field(static=True, default=())
    efc_address: tuple[int, ...] = eqx.field(static=True, default=())

    @property
    def weight(self) -> Float[Array, " n"]:
        """In [0, 1], the soft contact mask: `presence * mask`; 0 or 1 in mode "hard"."""
        return self.presence * self.mask

    def select(self, index: np.ndarray) -> "Contact":
        """The contacts at the positions `index`, in that order."""
        chosen = jax.tree.map(lambda x: x[index], self)
        return dataclasses.replace(
            chosen,
            dim=tuple(self.dim[i] for i in index),
            efc_address=tuple(self.efc_address[i] for i in index),
        )

    def to_mjx(self, like: MjxContact) -> MjxContact:
        """The same contacts for `mjx.Data`, with the static fields that `like` has.

        A contact that the shapes rule out (`presence` 0) gets a distance of at least 1 m, as
        MJX marks it, since MJX's contacts carry no weight.
        """
        away = jnp.maximum(self.dist, 1.0)
        return like.replace(
            dist=jnp.where(self.presence == 0, away, self.dist),
            pos=self.pos,
            frame=self.frame,
            includemargin=self.includemargin,
            friction=self.friction,
            solref=self.solref,
            solreffriction=self.solreffriction,
            solimp=self.solimp,
            geom1=self.geom[:, 0],
            geom2=self.geom[:, 1],
            geom=self.geom,
        )


class Parameters(eqx.Module):
    """The solver's parameters of p pairs of geoms; see `Contact` for the fields."""

    includemargin: Float[Array, " p"]
    friction: Float[Array, "p 5"]
    solref: Float[Array, "p 2"]
    solreffriction: Float[Array, "p 2"]
    solimp: Float[Array, "p 5"]


def explicit(m: mjx.Model, pair_id: np.ndarray) -> Parameters:
    """Parameters of the contacts that a `<pair>` element defines."""
    return Parameters(
        m.pair_margin[pair_id],
        _friction(m.pair_friction[pair_id]),
        m.pair_solref[pair_id],
        m.pair_solreffriction[pair_id],
        m.pair_solimp[pair_id],
    )


def _friction(given: Float[Array, "p 5"]) -> Float[Array, "p 5"]:
    """At least mjMINMU, as MuJoCo C makes its contacts: the solver divides by friction."""
    return jnp.maximum(given, mujoco.mjMINMU)


def mixed(m: mjx.Model, geom1: np.ndarray, geom2: np.ndarray) -> Parameters:
    """Parameters of contacts from those of their geoms, by MuJoCo's rules for contact parameters.

    Margins add up. The geom of higher priority decides friction, solref and solimp; at equal
    priority friction is the larger one, and solref and solimp mix in proportion to solmix (a
    direct, non-positive solref takes the smaller one instead).
    """
    share = _share(m.geom_solmix[geom1], m.geom_solmix[geom2])[:, None]
    friction = jnp.maximum(m.geom_friction[geom1], m.geom_friction[geom2])
    ref1, ref2 = m.geom_solref[geom1], m.geom_solref[geom2]
    standard = ((ref1[:, 0] > 0) & (ref2[:, 0] > 0))[:, None]
    solref = jnp.where(standard, share * ref1 + (1 - share) * ref2, jnp.minimum(ref1, ref2))
    solimp = share * m.geom_solimp[geom1] + (1 - share) * m.geom_solimp[geom2]

    priority1, priority2 = m.geom_priority[geom1], m.geom_priority[geom2]
    winner = np.where(priority1 > priority2, geom1, geom2)
    decided = (priority1 != priority2)[:, None]
    friction = jnp.where(decided, m.geom_friction[winner], friction)
    return Parameters(
        m.geom_margin[geom1] + m.geom_margin[geom2],
        _friction(friction[:, [0, 0, 1, 2, 2]]),
        jnp.where(decided, m.geom_solref[winner], solref),
        jnp.zeros_like(solref),
        jnp.where(decided, m.geom_solimp[winner], solimp),
    )


def _share(mix1: Float[Array, " p"], mix2: Float[Array, " p"]) -> Float[Array, " p"]:
    """Geom 1's share of the mix; a solmix of (almost) 0 gives all to the other, or half each."""
    zero1, zero2 = mix1 < mujoco.mjMINVAL, mix2 < mujoco.mjMINVAL
    share = mix1 / jnp.where(zero1 & zero2, 1.0, mix1 + mix2)
    share = jnp.where(zero1, 0.0, jnp.where(zero2, 1.0, share))
    return jnp.where(zero1 & zero2, 0.5, share)
