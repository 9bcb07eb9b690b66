"""One ball over one plane, six derivatives: `python docs/figures/ball_over_plane.py [FILE.png]`.

Left: the contact force of a ball at rest at each height, and its slope. Right: where a dropped ball
is after 0.38 s, one bounce later, and the slope of that against the drop. Dots are steps with
error control.
"""

import sys
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim
from experiments.figures import COLORS, figure
from softsim import Softening

BALL = """
<mujoco>
  <option timestep=".002"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 .1"> <joint type="slide" axis="0 0 1"/> <geom size=".1" mass=".2"/> </body>
  </worldbody>
</mujoco>"""
NEAR = np.linspace(-0.003, 0.022, 401)  # m, between ball and plane
DROPS = np.linspace(0.25, 0.40, 151)  # m
FEW = slice(0, None, 30)  # of the drops, for error control, which takes its time
FAINT = 1e-5  # N, N/mm: less is not drawn
FALL = 190  # steps
ADAPTIVE = softsim.Adaptive(1e-4, 1e-5, derivative="forward")
FORCES = {
    "hard": Softening.hard(),
    "reach 2 cm": Softening(reach=0.02),
    "soft mask": Softening(mask=softsim.Part(0.001, "c1")),
    "straight-through, reach 2 cm": Softening.straight_through(reach=0.02),
}
BOUNCES = {
    "hard": (Softening.hard(), None),
    "saltation": (Softening.saltation(), None),
    "adaptive, saltation": (
        Softening.saltation(),
        softsim.Adaptive(1e-4, 1e-5, derivative="forward"),
    ),
}
COLOR = dict(zip([*FORCES, "saltation", "adaptive, saltation"], COLORS))
BENEATH = {"hard": {"lw": 5, "alpha": 0.4}}  # on the left others lie on top of it
SHAPE = {"straight-through, reach 2 cm": ":", "adaptive, saltation": "o"}


def draw(file: Path) -> None:
    """Compute all curves in float64 and draw them."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(BALL))
    d = softsim.make_data(m)

    def force(height, softening):
        return softsim.forward(m, d.replace(qpos=height[None]), softening).qfrc_constraint[0]

    def end(height, softening, adaptive):
        dropped = d.replace(qpos=height[None])
        _, path = softsim.rollout(m, dropped, jnp.zeros((FALL, 0)), softening, adaptive=adaptive)
        return path.qpos[-1, 0]

    with figure(file, nrows=2, ncols=2, figsize=(9, 5.4), sharex="col") as (_, axes):
        for name, softening in FORCES.items():
            of = jax.jit(jax.vmap(jax.value_and_grad(lambda h, s=softening: force(h, s))))
            value, slope = of(jnp.asarray(NEAR))
            for ax, values in zip(axes[:, 0], (value, -1e-3 * slope)):
                seen = np.where(values > FAINT, values, np.nan)
                style = SHAPE.get(name, "-")
                look = BENEATH.get(name, {})
                ax.plot(1e3 * NEAR, seen, style, color=COLOR[name], label=name, **look)
        for name, (softening, adaptive) in BOUNCES.items():
            f = lambda h, s=softening, a=adaptive: end(h, s, a)
            one = lambda h, f=f: jax.jvp(f, (h,), (jnp.ones(()),))
            drops = DROPS if adaptive is None else DROPS[FEW]
            of = jax.vmap(one) if adaptive is None else partial(jax.lax.map, one)
            value, slope = jax.jit(of)(jnp.asarray(drops))
            style = SHAPE.get(name, "-")
            if name != "saltation":  # its values are those of hard steps
                title = "fixed steps" if name == "hard" else "error control"
                axes[0, 1].plot(drops, value, style, color=COLOR[name], label=title, ms=3)
            axes[1, 1].plot(drops, slope, style, color=COLOR[name], label=name, lw=1.2, ms=3)
        axes[0, 0].set(title="A ball held at a height", ylabel="contact force, N")
        axes[0, 0].set(yscale="log", ylim=(FAINT, 10))
        axes[1, 0].set(xlabel="gap to the plane, mm", ylabel="its slope downwards, N/mm")
        axes[1, 0].set(yscale="log", ylim=(FAINT, 10))
        axes[0, 1].set(title="A ball dropped, 0.38 s later", ylabel="height at the end, m")
        axes[1, 1].set(xlabel="dropped from, m", ylabel="its slope, m per m", ylim=(-0.08, 0.08))
        for ax in axes.flat:
            ax.legend(fontsize=7)


if __name__ == "__main__":
    softsim.enable_compile_cache()
    with jax.enable_x64(True):
        default = Path(__file__).parents[1] / "img" / "ball_over_plane.png"
        draw(Path(sys.argv[1]) if len(sys.argv) > 1 else default)
