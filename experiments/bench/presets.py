"""What each part of a `Softening` brings: a stack that is pushed, fingers that lift, a robot hand.

`python -m experiments.bench.presets`. Scenes run for half a second from one state, with parts of a
softening alone and with the presets, at `INPUTS` values of one input (the speed of the top box at
first; how high the fingers are told to go; how far a hand closes). "Apart" is how far bodies end
from where hard contact has them. Of the slope of where one body ends: its mean over the inputs and
how much it varies (standard deviation), beside the trend of hard runs (least squares) and the
share of it that the mean slope has. float64.

`--cost` measures instead what soft contact of two stacked boxes costs over hard: a step and its
gradient, 256 at once, float32, run in turn, by the median of the processor's time.
"""

import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import cli
from softsim import Part, Softening

STEPS = 250
INPUTS, SPREAD = 9, 0.2  # of the input, to both sides
BATCH, ROUNDS = 256, 15

_BOX = '<geom type="box" size=".06 .06 .06" mass="1"/>'
STACK = f"""
<mujoco><worldbody><geom type="plane" size="5 5 .1"/>
  <body pos="0 0 .06"><freejoint/>{_BOX}</body>
  <body pos=".003 .002 .18"><freejoint/>{_BOX}</body>
  <body pos="-.002 .003 .30"><freejoint/>{_BOX}</body>
</worldbody></mujoco>"""
FINGERS = """
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
TWO = f"""
<mujoco><worldbody><geom type="plane" size="5 5 .1"/>
  <body pos="0 0 .06"><freejoint/>{_BOX}</body><body pos="0 0 .18"><freejoint/>{_BOX}</body>
</worldbody></mujoco>"""
# rad: of the Allegro hand's actuators, fingers and thumb, when the hand is told to close
CLOSED = [0.0, 0.9, 0.9, 0.6] * 3 + [1.3, 0.6, 0.8, 0.8]

SOFT = Part(jnp.asarray(0.05), "smooth")
SETTINGS = {
    "hard()": Softening.hard(),
    "saltation()": Softening.saltation(),
    "soft()": Softening.soft(),
    "straight_through(reach=0)": Softening.straight_through(reach=0.0),
    "straight_through()": Softening.straight_through(),
    "soft mask alone": Softening(mask=Part(jnp.asarray(0.001), "c1")),
}
Run = Callable[[Softening, Float[Array, ""]], Float[Array, " nq"]]


@dataclass(frozen=True)
class Scene:
    """A run, the input in the middle, which coordinate of its end counts, and those of bodies."""

    run: Run
    value: float
    end: int
    bodies: tuple[int, ...]


@dataclass(frozen=True)
class Args:
    """What each part of a softening brings, and costs."""

    out: Path = Path("experiments/bench/results")
    """folder for presets.json and presets.md; what is there of other scenes is kept"""
    scenes: tuple[str, ...] = ("stack", "fingers")
    """which scenes: stack, fingers, hand"""
    hand: Path | None = None
    """for the scene hand: right_hand.xml of the Allegro hand in MuJoCo Menagerie"""
    settings: tuple[str, ...] = tuple(SETTINGS)
    """which settings; slopes are compared with hard(), which always runs"""
    cost: bool = False
    """measure the cost of soft contact instead; writes presets_cost.json"""

    def __post_init__(self) -> None:
        if unknown := set(self.scenes) - {"stack", "fingers", "hand"}:
            raise ValueError(f"--scenes {sorted(unknown)}: expected stack, fingers or hand")
        if unknown := set(self.settings) - set(SETTINGS):
            raise ValueError(f"--settings {sorted(unknown)}: expected {', '.join(SETTINGS)}")
        if "hand" in self.scenes and (self.hand is None or not self.hand.is_file()):
            raise ValueError(
                f"--hand {self.hand}: the scene hand needs the file of an Allegro hand"
            )


def stack() -> Scene:
    """Where the top box is (x, m) after a push."""
    model = mujoco.MjModel.from_xml_string(STACK)
    push = lambda d, x: d.replace(qvel=d.qvel.at[12].set(x))
    return Scene(partial(_run, model, push), 0.5, 14, (0, 7, 14))


def fingers() -> Scene:
    """How high the cube is (m) when two fingers are told to lift it that high (m)."""
    model = mujoco.MjModel.from_xml_string(FINGERS)
    press = lambda d, x: d.replace(ctrl=jnp.stack([x, jnp.array(20.0), jnp.array(20.0)]))
    return Scene(partial(_run, model, press), 0.1, 5, (3,))


def hand(path: Path) -> Scene:
    """How far the fingers of an Allegro hand, palm up, draw a cube towards its wrist (x, m)."""
    spec = mujoco.MjSpec.from_file(str(path))
    for geom in spec.geoms:  # the hand touches the cube alone
        geom.contype, geom.conaffinity = 0, int(geom.type != mujoco.mjtGeom.mjGEOM_MESH)
    cube = spec.worldbody.add_body(name="cube", pos=[0.03, 0.0, 0.0365])
    cube.add_freejoint()
    box, half = mujoco.mjtGeom.mjGEOM_BOX, [0.025] * 3
    cube.add_geom(type=box, size=half, mass=0.1, contype=1, conaffinity=0)
    model = spec.compile()
    close = lambda d, x: d.replace(ctrl=x * jnp.array(CLOSED))
    return Scene(partial(_run, model, close), 0.8, model.nq - 7, (model.nq - 7,))


def _run(model: mujoco.MjModel, begin: Callable, softening: Softening, x: Array) -> Array:
    m = softsim.put_model(model)
    d = begin(softsim.make_data(m), x)
    step = lambda d, _: (softsim.step(m, d, softening), None)
    return jax.lax.scan(step, d, None, length=STEPS)[0].qpos


def measure(name: str, scene: Scene, settings: Collection[str]) -> Iterator[dict]:
    """A row for each setting, hard contact first."""
    inputs = scene.value * (1 + SPREAD * jnp.linspace(-1, 1, INPUTS))
    where = np.concatenate([np.arange(first, first + 3) for first in scene.bodies])
    hard, trend = np.zeros(0), 0.0
    for label, softening in SETTINGS.items():
        if label not in ("hard()", *settings):
            continue

        def both(x: Array, softening: Softening = softening) -> tuple[Array, Array]:
            return jax.jvp(partial(scene.run, softening), (x,), (jnp.ones_like(x),))

        ends, slopes = map(np.asarray, jax.jit(partial(jax.lax.map, both))(inputs))
        if not hard.size:
            hard, trend = ends, float(np.polyfit(inputs, ends[:, scene.end], 1)[0])
        slope = slopes[:, scene.end]
        yield {
            "scene": name,
            "setting": label,
            "apart, mm": 1e3 * float(np.abs(ends - hard)[:, where].max()),
            "slope": float(slope.mean()),
            "varies by": float(slope.std()),
            "trend": trend,
            "slope / trend": float(slope.mean()) / trend,
        }


def cost() -> dict[str, float]:
    """Soft over hard: a step and its gradient of many pairs of stacked boxes."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(TWO))
    d = softsim.make_data(m)
    qpos = d.qpos + 0.005 * jax.random.normal(jax.random.key(0), (BATCH, m.nq))

    def step(softening: Softening, q: Array) -> Array:
        return jax.vmap(lambda q: softsim.step(m, d.replace(qpos=q), softening).qvel)(q)

    def slope(softening: Softening, q: Array) -> Array:
        return jax.grad(lambda q: jnp.sum(step(softening, q) ** 2))(q)

    found: dict[str, float] = {}
    runs: dict[tuple[str, str], Any] = {}
    taken: dict[tuple[str, str], list[float]] = {}
    for label, softening in (("hard", Softening.hard()), ("soft", Softening(collision=SOFT))):
        for kind, f in (("step", step), ("gradient", slope)):
            began = time.process_time()
            runs[kind, label] = jax.jit(partial(f, softening)).lower(qpos).compile()
            found[f"{kind} {label}, compile, s"] = time.process_time() - began
            taken[kind, label] = []
    for _ in range(ROUNDS):
        for key, run in runs.items():
            began = time.process_time()
            jax.block_until_ready(run(qpos))
            taken[key].append(time.process_time() - began)
    found |= {f"{kind} {label}, ms": 1e3 * median(t) for (kind, label), t in taken.items()}
    for kind in ("step", "gradient"):
        found[f"{kind}, soft / hard"] = found[f"{kind} soft, ms"] / found[f"{kind} hard, ms"]
    return found


def _shown(row: dict) -> dict[str, str]:
    return {key: x if isinstance(x, str) else f"{x:.3g}" for key, x in row.items()}


def main(args: Args) -> None:
    """Measure and write; rows are written as they come."""
    out, made = cli.open_folder(args.out), cli.provenance(args)
    if args.cost:
        found = cost()
        cli.write_json(out / "presets_cost.json", {**found, **made})
        cli.print_table("cost", [{k: f"{x:.3g}" for k, x in found.items()}])
        return
    path = out / "presets.json"
    earlier = json.loads(path.read_text()) if path.exists() else {"rows": [], "runs": []}
    rows = {(row["scene"], row["setting"]): row for row in earlier["rows"]}
    runs = [*earlier["runs"], made]
    make = {"stack": stack, "fingers": fingers, "hand": lambda: hand(Path(str(args.hand)))}
    with jax.enable_x64(True):
        for name in args.scenes:
            for row in measure(name, make[name](), args.settings):
                rows[name, row["setting"]] = row
                cli.write_json(path, {"rows": list(rows.values()), "runs": runs})
                shown = [_shown(row) for row in rows.values()]
                cli.write_markdown(path.with_suffix(".md"), shown)
    cli.print_table("presets", shown)


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
