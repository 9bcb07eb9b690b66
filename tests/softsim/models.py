"""Models shared by the tests: one per constraint type, and the robots of MJX and Gymnasium."""

from pathlib import Path

import mujoco
from etils import epath

_HEAD = (
    '<mujoco><option timestep="0.004" iterations="100" ls_iterations="50" tolerance="1e-14" {}/>'
)

_TWO_LINKS = """
<worldbody>
  <body name="a" pos="0 0 1"><joint name="j1" axis="0 1 0" {j1}/><geom size=".05" pos=".2 0 0"/>
    <body name="b" pos=".4 0 0"><joint name="j2" axis="0 1 0" {j2}/>
      <geom size=".05" pos=".2 0 0"/></body></body>
  <body name="c" pos=".5 .3 1"><freejoint/>
    <geom size=".06 .05 .04" type="box" contype="0" conaffinity="0"/>
  </body>
  <body name="e" pos="0 .6 1"><joint name="ball" type="ball" {ball}/>
    <geom type="capsule" size=".04" fromto="0 0 0 .2 .05 -.1" contype="0" conaffinity="0"/></body>
</worldbody>"""


def _links(body: str = "", option: str = "", j1: str = "", j2: str = "", ball: str = "") -> str:
    links = _TWO_LINKS.format(j1=j1, j2=j2, ball=ball)
    return _HEAD.format(option) + links + body + "</mujoco>"


def _pile(condim: int, cone: str, solver: str = "Newton") -> str:
    head = _HEAD.format(f'cone="{cone}" solver="{solver}"')
    if solver == "CG":  # it stops at a small gain, where its error is still the root of that
        head = head.replace("1e-14", "1e-20")
    return (
        head
        + f"""<default><geom condim="{condim}" friction="0.7 0.02 0.01"
        solimp="0 0.95 0.002"/></default>
    <worldbody><geom type="plane" size="1 1 1"/>
    <body pos="0 0 .098"><freejoint/><geom size=".1" mass="1"/></body>
    <body pos=".02 .01 .295"><freejoint/><geom type="sphere" size=".1" mass=".5"/></body>
    <body pos=".5 0 .0485" quat=".98 .1 .05 .1"><freejoint/>
      <geom type="capsule" size=".05 .1" mass=".7"/></body>
    </worldbody></mujoco>"""
    )


_TENDON = """
<tendon>
  <fixed name="t1" {t1}><joint joint="j1" coef="1"/><joint joint="j2" coef="-.5"/></fixed>
  <fixed name="t2"><joint joint="j2" coef="1"/></fixed>
</tendon>"""

# one model per row of the constraint list; all constraints are active near qpos0
CONSTRAINTS: dict[str, str] = {
    "connect": _links('<equality><connect body1="b" body2="c" anchor=".1 0 .05"/></equality>'),
    "weld": _links(
        '<equality><weld body1="b" body2="c" relpose="0 0 0 .9 .1 .2 .3" torquescale=".8"/>'
        "</equality>"
    ),
    "joint_equality": _links(
        '<equality><joint joint1="j1" joint2="j2" polycoef=".1 .5 .2 .1 .05"/></equality>'
    ),
    "tendon_equality": _links(
        _TENDON.format(t1="")
        + '<equality><tendon tendon1="t1" tendon2="t2" polycoef=".1 .5 .2 .1 0"/></equality>'
    ),
    "dof_friction": _links(j1='frictionloss=".3"', j2='frictionloss="2"', ball='frictionloss=".1"'),
    "tendon_friction": _links(_TENDON.format(t1='frictionloss=".4"')),
    "joint_limit": _links(j1='range="10 90" limited="true"', j2='range="-90 -10" limited="true"'),
    "ball_limit": _links(ball='range="0 5" limited="true"'),
    "tendon_limit": _links(_TENDON.format(t1='range=".1 .5" limited="true"')),
    "contact_1": _pile(1, "pyramidal"),
    "contact_3_pyramidal": _pile(3, "pyramidal"),
    "contact_4_pyramidal": _pile(4, "pyramidal"),
    "contact_6_pyramidal": _pile(6, "pyramidal"),
    "contact_3_elliptic": _pile(3, "elliptic"),
    "contact_4_elliptic": _pile(4, "elliptic"),
    "contact_6_elliptic": _pile(6, "elliptic"),
    "contact_3_elliptic_cg": _pile(3, "elliptic", "CG"),
    "contact_3_pyramidal_cg": _pile(3, "pyramidal", "CG"),
    "unconstrained": _links(),
}

GYMNASIUM = ("hopper", "walker2d_v5", "half_cheetah", "ant", "humanoid", "pusher_v5", "swimmer")
MJX = (
    "humanoid/humanoid.xml",
    "barkour_v0/assets/barkour_v0_mjx.xml",
    "shadow_hand/scene_right.xml",
    "actuator/arm26.xml",
    "constraints.xml",
    "convex.xml",
    "tendon/tendon.xml",
)


def gymnasium_model(name: str) -> mujoco.MjModel:
    """A model that ships with the gymnasium package."""
    import gymnasium

    path = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / f"{name}.xml"
    return mujoco.MjModel.from_xml_path(str(path))


def mjx_model(name: str) -> mujoco.MjModel:
    """A model that ships with the mujoco-mjx package."""
    path = epath.resource_path("mujoco.mjx") / "test_data" / name
    return mujoco.MjModel.from_xml_path(str(path))


def _mixed_contacts(cone: str) -> str:
    """Contacts of several dimensions in one scene, with priorities, margins and a joint between."""
    dims = (3, 4, 6) if cone == "elliptic" else (1, 3, 4, 6)
    balls = "".join(
        f"""<body pos="{0.3 * i} 0 .0985"><freejoint/>
        <geom size=".1" mass="{1 + i}" condim="{dim}" margin="{0.01 * (i % 2)}"/></body>"""
        for i, dim in enumerate(dims)
    )
    head = _HEAD.format(f'cone="{cone}" impratio="2"')
    return f"""{head}<default><geom friction="0.7 0.02 0.01" solimp="0 0.95 0.002"/></default>
    <worldbody><geom type="plane" size="1 1 1" condim="1"/>{balls}
    <body pos="0 .5 .0485" quat=".98 .1 .05 .1"><freejoint/>
      <geom type="capsule" size=".05 .1" mass=".7" condim="3" priority="1"/></body>
    </worldbody></mujoco>"""


# every kind of row in few models, for the fast tests: compiling is what takes the time
MIXED: dict[str, str] = {
    "rows": _links(
        _TENDON.format(t1='range=".1 .5" limited="true" frictionloss=".4"')
        + """<equality><connect body1="b" body2="c" anchor=".1 0 .05"/>
        <weld body1="c" body2="e" relpose="0 0 0 .9 .1 .2 .3" torquescale=".8"/>
        <joint joint1="j1" joint2="j2" polycoef=".1 .5 .2 .1 .05"/>
        <tendon tendon1="t1" tendon2="t2" polycoef=".1 .5 .2 .1 0"/></equality>
        <actuator><position joint="j1" kp="3" kv=".1"/>
        <general joint="j2" dyntype="filter" dynprm=".1" gainprm="2"/></actuator>""",
        j1='frictionloss=".3" range="10 90" limited="true" damping=".2" stiffness="2"',
        j2='frictionloss="2" range="-90 -10" limited="true" armature=".02"',
        ball='frictionloss=".1" range="0 5" limited="true"',
    ),
    "pyramidal": _mixed_contacts("pyramidal"),
    "elliptic": _mixed_contacts("elliptic"),
}
