"""What each part of a `Softening` costs and brings: a stack of boxes, a hand that lifts a cube.

`python -m experiments.bench.presets`. Both scenes run for half a second from one state, with every
part alone and with the presets. "Apart" is how far bodies are from where hard contact has them.
The slope is that of where the top box ends (by its speed at first) or the cube (by how high the
hand is told to go), beside the difference of two hard runs. Costs are over hard contact's, of the
whole run, compiled; the best of three. float64.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments import cli
from softsim import Part, Softening

STEPS = 250
APART = 0.02  # of the input: hard runs that far to both sides give the difference

_BOX = '<geom type="box" size=".06 .06 .06" mass="1"/>'
STACK = f"""
<mujoco><worldbody><geom type="plane" size="5 5 .1"/>
  <body pos="0 0 .06"><freejoint/>{_BOX}</body>
  <body pos=".003 .002 .18"><freejoint/>{_BOX}</body>
  <body pos="-.002 .003 .30"><freejoint/>{_BOX}</body>
</worldbody></mujoco>"""
HAND = """
<mujoco><worldbody><geom type="plane" size="5 5 .1"/>
  <body name="palm" pos="0 0 .03"><joint name="lift" type="slide" axis="0 0 1" damping="20"/>
    <geom type="sphere" size=".01" pos="0 0 .1" mass=".5" contype="0" conaffinity="0"/>
    <body pos="-.04 0 0"><joint name="left" type="slide" axis="1 0 0" damping="5"/>
      <geom type="box" size=".01 .02 .02" mass=".1"/></body>
    <body pos=".04 0 0"><joint name="right" type="slide" axis="-1 0 0" damping="5"/>
      <geom type="box" size=".01 .02 .02" mass=".1"/></body>
  </body>
  <body name="cube" pos="0 0 .025" euler="0 0 5"><freejoint/>
    <geom type="box" size=".025 .025 .025" mass=".1"/></body>
</worldbody>
<actuator><position joint="lift" kp="500"/><motor joint="left"/><motor joint="right"/></actuator>
</mujoco>"""
SETTINGS = {
    "hard": Softening.hard(),
    "soft collision": Softening(collision=Part(jnp.asarray(0.05), "smooth")),
    "soft mask": Softening(mask=Part(jnp.asarray(0.001), "c1")),
    "reach 0.1 m": Softening(reach=jnp.asarray(0.1)),
    "Softening.soft()": Softening.soft(),
    "Softening.straight_through()": Softening.straight_through(),
}


@dataclass(frozen=True)
class Args:
    """What each part of a softening costs and brings."""

    out: Path = Path("experiments/bench/results")
    """folder for presets.json and presets.md"""


def stack(softening: Softening, speed: Float[Array, ""]) -> tuple[Array, Array]:
    """Where the top box is (x, m) after a push, and all positions (m)."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(STACK))
    d = softsim.make_data(m)
    d = d.replace(qvel=d.qvel.at[12].set(speed))
    q = _run(m, d, softening).qpos
    return q[14], q.reshape(3, 7)[:, :3]


def hand(softening: Softening, height: Float[Array, ""]) -> tuple[Array, Array]:
    """How high the cube is (m) when the hand was told to go that high, and where it is (m)."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(HAND))
    d = softsim.make_data(m)
    d = d.replace(ctrl=jnp.stack([height, jnp.array(20.0), jnp.array(20.0)]))
    cube = _run(m, d, softening).qpos[3:6]
    return cube[2], cube[None]


def _run(m: mjx.Model, d: mjx.Data, softening: Softening) -> mjx.Data:
    step = jax.checkpoint(lambda d: softsim.step(m, d, softening))
    return jax.lax.scan(lambda d, _: (step(d), None), d, None, length=STEPS)[0]


SCENES = {"stack": (stack, 0.5), "hand": (hand, 0.1)}


def measure(name: str) -> list[dict]:
    """A row for each setting."""
    scene, value = SCENES[name]
    rows: list[dict] = []
    for label, softening in SETTINGS.items():
        run = jax.jit(lambda x, softening=softening: scene(softening, x))
        slope = jax.jit(jax.grad(lambda x, softening=softening: scene(softening, x)[0]))
        found: dict = {"scene": name, "setting": label}
        for key, f in (("step", run), ("gradient", slope)):
            began = time.perf_counter()
            f(value)
            found[f"{key} compile, s"] = time.perf_counter() - began
            found[f"{key}, ms"] = 1e3 * min(_seconds(f, value) for _ in range(3))
        if label == "hard":
            ahead, behind = (run(value * (1 + sign * APART))[0] for sign in (1, -1))
            difference = float(ahead - behind) / (2 * APART * value)
            where = run(value)[1]
        found["apart, mm"] = 1e3 * float(jnp.abs(run(value)[1] - where).max())
        found["slope"], found["difference"] = float(slope(value)), difference
        for key in ("step", "gradient"):
            found[f"{key} / hard"] = found[f"{key}, ms"] / (rows or [found])[0][f"{key}, ms"]
        rows.append(found)
    return rows


def _seconds(f, value: float) -> float:
    began = time.perf_counter()
    jax.block_until_ready(f(value))
    return time.perf_counter() - began


def main(args: Args) -> None:
    """Measure and write."""
    path, made = cli.open_folder(args.out) / "presets.json", cli.provenance(args)
    rows: list[dict] = []
    with jax.enable_x64(True):
        for name in SCENES:
            rows += measure(name)
            cli.write_json(path, {"rows": rows, **made})
    shown = [{k: x if isinstance(x, str) else f"{x:.3g}" for k, x in row.items()} for row in rows]
    cli.write_markdown(path.with_suffix(".md"), shown)
    cli.print_table("presets", shown)


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
