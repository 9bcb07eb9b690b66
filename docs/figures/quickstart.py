"""The four pictures of the quickstart: `python docs/figures/quickstart.py [FOLDER]`.

The throw itself; how high the ball ends over how fast it is thrown, with two tangents; the slope by
either derivative; and how deep the ball sinks in over the time constant of the contact.
"""

import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim
from experiments.figures import COLORS, figure
from softsim import Softening

DOCS = Path(__file__).parents[1]
XML = re.search(r'XML = """\n(.*?)"""', (DOCS / "quickstart.md").read_text(), re.DOTALL)[1]
STEPS = 150
SPEEDS = np.linspace(-0.1, 0.1, 201)  # m/s, upwards
CONSTANTS = np.linspace(0.01, 0.05, 81)  # s
TANGENT = 0.03  # m/s to either side
KINDS = {"hard": Softening.hard(), "saltation": Softening.saltation()}
BESIDE = {"fontsize": 8, "loc": "center left", "bbox_to_anchor": (1.0, 0.5)}  # the axes
COLOR = dict(zip(KINDS, (COLORS[0], COLORS[1])))


def draw(folder: Path) -> None:
    """Compute in float64 and write throw.png, height.png, slopes.png and depth.png."""
    mj_model = mujoco.MjModel.from_xml_string(XML)
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)

    def fall(model, speed, softening):
        start = d.replace(qpos=jnp.array([0.0, 0.3]), qvel=jnp.stack([1.0, speed]))
        return softsim.rollout(model, start, jnp.zeros((STEPS, 0)), softening)[1]

    path = jax.jit(fall)(m, jnp.zeros(()), KINDS["hard"])
    softsim.render(mj_model, path, folder / "throw.png", size=(200, 150))
    found = {}
    for name, softening in KINDS.items():
        end = lambda speed, s=softening: fall(m, speed, s).qpos[-1, 1]
        found[name] = jax.jit(jax.vmap(jax.value_and_grad(end)))(jnp.asarray(SPEEDS))
    heights(folder / "height.png", found)
    with figure(folder / "slopes.png", figsize=(6.6, 2.6)) as (_, ((ax,),)):
        for name, (_, slope) in found.items():
            ax.plot(SPEEDS, slope, color=COLOR[name], label=name, lw=1.2)
        trend = np.polyfit(SPEEDS, found["hard"][0], 1)[0]
        ax.axhline(trend, color="black", ls="--", lw=1, label="the line through all")
        ax.set(xlabel="thrown upwards at, m/s", ylabel="slope, m per m/s", ylim=(-0.1, 0.1))
        ax.legend(**BESIDE)

    def depth(constant):
        model = m.replace(geom_solref=m.geom_solref.at[:, 0].set(constant))
        return fall(model, jnp.zeros(()), KINDS["saltation"]).qpos[:, 1].min()

    deepest, slope = jax.jit(jax.vmap(jax.value_and_grad(depth)))(jnp.asarray(CONSTANTS))
    with figure(folder / "depth.png", figsize=(6.6, 2.6)) as (_, ((ax,),)):
        ax.plot(1e3 * CONSTANTS, 1e3 * deepest, color=COLORS[1], lw=1.5, label="lowest point")
        for i in range(10, len(CONSTANTS), 20):
            near = np.array([-0.004, 0.004])
            ax.plot(1e3 * (CONSTANTS[i] + near), 1e3 * (deepest[i] + slope[i] * near), "k-", lw=1)
        ax.plot([], [], "k-", lw=1, label="tangents by jax.grad")
        ax.set(xlabel="time constant of the contact, ms", ylabel="height, mm")
        ax.legend(**BESIDE)


def heights(file: Path, found: dict) -> None:
    """The outcome over the speed, with a tangent by either derivative in the middle."""
    with figure(file, figsize=(6.6, 2.6)) as (_, ((ax,),)):
        height = np.asarray(found["hard"][0])
        ax.plot(SPEEDS, 1e3 * height, color="gray", lw=1.2, label="the ball ends")
        line = np.polynomial.Polynomial.fit(SPEEDS, height, 1)
        ax.plot(SPEEDS, 1e3 * line(SPEEDS), "k--", lw=1, label="a line through all of them")
        middle = len(SPEEDS) // 2
        near = np.array([-TANGENT, TANGENT])
        for name, (value, slope) in found.items():
            tangent = value[middle] + slope[middle] * near
            ax.plot(SPEEDS[middle] + near, 1e3 * tangent, color=COLOR[name], lw=2.5, label=name)
        ax.set(xlabel="thrown upwards at, m/s", ylabel="height at the end, mm")
        ax.legend(**BESIDE)


if __name__ == "__main__":
    softsim.enable_compile_cache()
    with jax.enable_x64(True):
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "img" / "quickstart"
        folder.mkdir(parents=True, exist_ok=True)
        draw(folder)
