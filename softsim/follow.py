"""Which engine a model follows where MuJoCo C and MJX differ by choice: `put_model(..., follow=)`.

A model is an `mjx.Model` in either case. One that follows MuJoCo C is a `Model`, which remembers it
in a static field; any other `mjx.Model` follows MJX. The differences are listed in
`docs/supported.md`.
"""

import dataclasses
from typing import Literal

from mujoco import mjx

Follow = Literal["mjx", "mujoco"]
FOLLOW: tuple[Follow, ...] = ("mjx", "mujoco")


class Model(mjx.Model):
    """An `mjx.Model` that says which engine it follows; `follow` is static."""

    follow: str = "mjx"


def with_follow(m: mjx.Model, follow: Follow) -> mjx.Model:
    """The model, marked to follow MuJoCo C; unchanged if it is to follow MJX."""
    if follow == "mjx":
        return m
    fields = {f.name: getattr(m, f.name) for f in dataclasses.fields(mjx.Model)}
    return Model(**fields, follow=follow)


def follows(m: mjx.Model) -> Follow:
    """The engine a model follows."""
    return getattr(m, "follow", "mjx")
