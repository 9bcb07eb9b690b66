"""A small model with every kind of joint, several joints in a body, welded and mocap bodies."""

import mujoco

ZOO = """
<mujoco>
  <option timestep="0.005" gravity="0.3 -0.2 -9.7" {option}>
    <flag constraint="disable" {flag}/>
  </option>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <geom type="plane" size="1 1 .1"/>
    <body name="trunk" pos=".1 .2 .3" quat=".9 .1 .2 -.3">
      <freejoint/>
      <geom type="box" size=".1 .2 .3" pos=".1 0 .05" quat=".8 .1 .3 .2"/>
      <site name="chest" pos=".1 .2 .1" quat=".3 .2 .1 .7"/>
      <body pos=".1 .3 -.2" quat=".7 .2 .5 -.1">
        <joint name="rail" type="slide" axis="1 2 -1" pos=".1 .05 -.1" ref=".1"/>
        <joint name="shoulder" axis="0 1 1" pos="-.1 .05 .1" ref=".3" armature=".02" damping=".3"/>
        <joint name="elbow" axis="2 1 -1" pos=".03 .1 .1" stiffness="2" springref=".4"/>
        <geom type="capsule" size=".05" fromto="0 0 0 .3 .1 .1"/>
        <body pos=".3 .1 .1" quat=".2 .4 .1 .7">
          <geom size=".08" pos=".1 0 0"/>
          <body pos=".1 .1 .1">
            <joint name="wrist" type="ball" pos=".1 -.2 .1" damping=".05"/>
            <geom type="ellipsoid" size=".1 .05 .07" pos=".1 0 0"/>
            <site name="palm" pos=".1 .2 .1"/>
          </body>
        </body>
      </body>
      <body pos="-.1 .3 -.2">
        <joint name="hip" type="ball" pos="0 .02 0" damping=".1" stiffness=".7"/>
        <joint name="piston" type="slide" axis="0 1 1" pos=".1 0 .1" armature=".1"/>
        <geom type="cylinder" size=".05 .1"/>
      </body>
    </body>
    <body pos="1 1 1" quat=".6 .1 .3 .2">
      <geom type="box" size=".1 .1 .1"/>
      <body pos=".1 .3 .1" quat=".6 .4 .3 .2">
        <joint name="door" axis="0 0 1" pos=".2 0 0" stiffness="3" springref=".2"/>
        <geom type="box" size=".1 .2 .05"/>
      </body>
    </body>
    <body mocap="true" pos="0 1 0" quat=".5 .1 .2 .1">
      <geom type="box" size=".1 .2 .05"/>
      <body pos=".1 .3 .1" quat=".6 .4 .3 .2"><geom size=".05"/><site pos=".1 0 0"/></body>
    </body>
  </worldbody>
  <tendon><fixed stiffness="2" springlength=".1 .3">
    <joint joint="shoulder" coef=".8"/><joint joint="door" coef="-.4"/>
  </fixed></tendon>
  <actuator>
    <position joint="shoulder" kp="3" kv=".4"/>
    <general joint="elbow" dyntype="filter" dynprm=".07" gainprm="2" biastype="affine"
      biasprm=".1 -.2 -.3" actlimited="true" actrange="-.4 .4"/>
    <general joint="door" dyntype="filterexact" dynprm=".05" gaintype="affine" gainprm="1 .2 .1"/>
    <general joint="rail" dyntype="integrator" gainprm="2"/>
  </actuator>
</mujoco>"""


def zoo(option: str = "", flag: str = "") -> mujoco.MjModel:
    """The model, with further attributes of `<option>` and `<flag>`."""
    return mujoco.MjModel.from_xml_string(ZOO.format(option=option, flag=flag))
