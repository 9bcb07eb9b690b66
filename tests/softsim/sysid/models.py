"""Models that tests of identification share."""

import mujoco
import numpy as np

from softsim import sysid

ZOO = """
<mujoco model="zoo">
  <option timestep="0.005" tolerance="1e-12"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body name="box" pos="0 0 0.5">
      <freejoint name="box"/>
      <geom name="box" type="box" size="0.1 0.08 0.05" mass="0.4" friction="0.4 0.01 0.001"/>
      <body name="flap" pos="0.1 0 0">
        <joint name="hinge" type="hinge" axis="0 1 0" damping="0.1" armature="0.02"
               frictionloss="0.05" stiffness="0.3"/>
        <geom name="flap" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.1"
              contype="0" conaffinity="0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="motor" joint="hinge" gear="-2"/>
    <position name="servo" joint="hinge" kp="2" kv="0.3"/>
    <velocity name="brake" joint="hinge" kv="2"/>
  </actuator>
</mujoco>
"""

ARM = """<mujoco><option timestep="0.005" integrator="implicitfast"/>
<default><joint axis="0 1 0" armature=".01"/></default><worldbody>
<body><joint name="shoulder" damping="{damping}" frictionloss=".1"/>
<geom name="upper" type="capsule" fromto="0 0 0 0 0 -.4" size=".03" mass="1.2"/>
<body name="fore" pos="0 0 -.4"><joint name="elbow" damping=".15" frictionloss="{friction}"/>
<geom type="capsule" fromto="0 0 0 0 0 -.3" size=".025" mass="{mass}"/></body></body>
</worldbody><actuator><motor name="shoulder" joint="shoulder"/><motor name="elbow" joint="elbow"/>
</actuator></mujoco>"""


def swings(model: mujoco.MjModel, lengths: tuple[int, ...], dt: float) -> list[sysid.Recording]:
    """An arm driven by sines, as MuJoCo C simulates it."""
    generator, found = np.random.default_rng(3), []
    for length in lengths:
        data, rows = mujoco.MjData(model), []
        data.qpos[:] = generator.uniform(-1, 1, model.nq)
        phase, rate = generator.uniform(0, 6, model.nu), generator.uniform(1, 5, model.nu)
        for k in range(length):
            data.ctrl[:] = np.linspace(3.0, 1.0, model.nu) * np.sin(rate * dt * k + phase)
            rows.append(np.concatenate([data.qpos, data.qvel, data.ctrl]))
            mujoco.mj_step(model, data, round(dt / model.opt.timestep))
        qpos, qvel, ctrl = np.split(np.array(rows), [model.nq, model.nq + model.nv], axis=1)
        found.append(sysid.Recording(qpos=qpos, qvel=qvel, ctrl=ctrl, dt=dt))
    return found
