"""Which derivative a step gets: that of its own value, or that of the soft step at the same state.

Straight-through is one substitution around the whole step, so that products inside it keep a
consistent linearisation: operator by operator, the derivative of f * g would mix hard values with
soft slopes.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
from mujoco import mjx

from softsim.softening import Softening

Run = Callable[[mjx.Model, mjx.Data, Softening], Any]


def softened(run: Run, m: mjx.Model, d: mjx.Data, softening: Softening | None) -> Any:
    """`run(m, d, softening)`, or with `gradient_only` the hard value with the soft derivative."""
    if softening is None:
        softening = Softening.hard()
    return (_straight_through if softening.gradient_only else _plain)(run, m, d, softening)


def _plain(run: Run, m: mjx.Model, d: mjx.Data, softening: Softening) -> Any:
    return run(m, d, softening)


@eqx.filter_custom_jvp
def _straight_through(run: Run, m: mjx.Model, d: mjx.Data, softening: Softening) -> Any:
    return run(m, d, Softening.hard())


@_straight_through.def_jvp
def _straight_through_jvp(primals: tuple, tangents: tuple) -> tuple:
    """Value of the hard step, tangent of the soft one."""
    run, m, d, softening = primals
    _, tangent = eqx.filter_jvp(run, (m, d, softening), tangents[1:])
    return _straight_through(run, m, d, softening), tangent
