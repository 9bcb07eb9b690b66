"""Types of the soft operators: what a soft truth value, a soft index and a mode are."""

from typing import Literal, TypeAlias

from jaxtyping import Array, ArrayLike, Float

SoftBool: TypeAlias = Float[Array, "..."]
"""A truth value in [0, 1]: the probability that the statement holds."""

SoftIndex: TypeAlias = Float[Array, "... n"]
"""An index whose last axis is a probability distribution over the n positions it may point to."""

Softness: TypeAlias = ArrayLike
"""Positive; the width of a switch. Traced: a new value never compiles again."""

Mode: TypeAlias = Literal["hard", "smooth", "c0", "c1", "c2"]
SoftMode: TypeAlias = Literal["smooth", "c0", "c1", "c2", "_c1_pnorm", "_c2_pnorm"]
