"""Many small unconnected mechanisms in one scene: every actuator under every limit, and so on.

`scene(integrator)` compiles once what would otherwise be a hundred models. Every mechanism stands
on its own, so that a wrong one is found by the names of its joints.
"""

from typing import NamedTuple

import mujoco
import numpy as np

HINGE = '<joint name="{n}" axis="0 1 0" damping=".1" armature=".02" {joint}/>'


class Mechanism(NamedTuple):
    """A piece of a scene; `{n}` stands for its name, and `ctrl` and `act` are where it works."""

    body: str
    tendon: str = ""
    actuator: str = ""
    ctrl: float = 0.0
    act: float = 0.0


def arm(joint: str = "") -> str:
    """A pendulum about a hinge named like the mechanism."""
    return (
        f'<body name="{{n}}">{HINGE.replace("{joint}", joint)}'
        '<geom type="capsule" size=".05" fromto="0 0 0 .3 0 -.1" mass="1.3"/>'
        '<site name="{n}s" pos=".3 .02 -.1" euler="10 20 30"/>{child}</body>'
    )


ELBOW = (
    '<body name="{n}2" pos=".3 0 -.1"><joint name="{n}2" axis=".2 1 .1"/>'
    '<geom size=".05" pos=".15 .05 0" mass=".7"/></body>'
)
COUPLED = """<fixed name="{n}" {limit}>
  <joint joint="{n}" coef="1"/><joint joint="{n}2" coef="-.6"/></fixed>"""

# element and attributes; what it is controlled with, and its activation
ACTUATORS = {
    "motor": ('motor {on} gear="2"', 1.5, 0.0),
    "position": ('position {on} kp="40" kv="6"', 1.1, 0.0),
    "velocity": ('velocity {on} kv="5" gear="1.5"', 1.2, 0.0),
    "intvelocity": ('intvelocity {on} kp="30" kv="2" actrange="-9 9"', 0.7, 0.9),
    "damper": ('damper {on} kv="8" ctrlrange="0 9"', 1.3, 0.0),
    "cylinder": ('cylinder {on} timeconst=".3" area="4" bias="1 -2 -3"', 1.2, 0.8),
    "filter": ('general {on} dyntype="filter" dynprm=".2" gainprm="6" biastype="affine" '
               'biasprm=".3 -2 -1.5"', 1.4, 0.8),
    "filterexact": ('general {on} dyntype="filterexact" dynprm=".03" gaintype="affine" '
                    'gainprm="5 .4 -3"', 1.4, 0.8),
    "muscle": ('muscle {on} lengthrange="-2 2.5" force="60"', 0.8, 0.6),
    "strong muscle": ('muscle {on} lengthrange="-.5 1.2" scale="900" tausmooth=".3"', 0.8, 0.7),
    "affine": ('general {on} gaintype="affine" gainprm="4 .5 -3" biastype="affine" '
               'biasprm=".2 -1 .5"', 1.3, 0.0),
}  # fmt: skip
LIMITS = ("none", "ctrl", "act", "force", "joint", "tendon")


def _limited(name: str, limit: str) -> Mechanism | None:
    """One actuator with one limit that is active, or None where there is nothing to limit."""
    element, ctrl, act = ACTUATORS[name]
    on = 'tendon="{n}"' if limit == "tendon" else 'joint="{n}"'
    element = element.replace("{on}", on)
    attribute = {"ctrl": 'ctrlrange="0 .5"', "force": 'forcerange="-.4 .3"'}.get(limit, "")
    if limit == "act":
        if not act or element.startswith(("cylinder", "muscle")):  # they take no actrange
            return None
        element = element.replace('actrange="-9 9"', "")
        attribute = f'actrange="-.5 {act - 0.001}"'
    if limit == "ctrl":
        element = element.replace('ctrlrange="0 9"', "")
    joint = 'actuatorfrcrange="-.2 .25"' if limit == "joint" else ""
    tendon = ""
    if limit == "tendon":
        tendon = COUPLED.replace("{limit}", 'actuatorfrcrange="-.5 .4"')
    body = arm(joint).replace("{child}", ELBOW) if tendon else arm(joint)
    return Mechanism(body, tendon, f"<{element} {attribute}/>", ctrl, act)


def _limits() -> dict[str, Mechanism]:
    table = {f"{a} {b}": _limited(a, b) for a in ACTUATORS for b in LIMITS}
    return {name: mechanism for name, mechanism in table.items() if mechanism}


def _single(joint: str, child: str = "") -> str:
    """A body on one joint, with a site off its centre."""
    return (
        f'<body name="{{n}}"><joint name="{{n}}" {joint}/>'
        '<geom type="box" size=".1 .15 .2" pos=".1 .05 .02" euler="10 20 40" mass="2"/>'
        f'<site name="{{n}}s" pos=".1 .2 .3" euler="20 30 -10"/>{child}</body>'
    )


def _servo(on: str, gear: str, ctrl: float) -> dict:
    return {"actuator": f'<position {on} gear="{gear}" kp="9" kv="3"/>', "ctrl": ctrl}


def _drag(on: str, gear: str) -> dict:
    """A force with damping, and no length."""
    kind = 'biastype="affine" biasprm="0 0 -3"'
    return {"actuator": f'<general {on} gear="{gear}" {kind}/>', "ctrl": 0.8}


def _coupled(tendon: str) -> dict:
    """A fixed tendon between the joints named {n} and {n}2, with a servo."""
    servo = '<position tendon="{n}" kp="50" kv="20"/>'
    return {"tendon": COUPLED.replace("{limit}", tendon), "actuator": servo, "ctrl": 0.2}


def _wire(tendon: str) -> dict:
    """A wire from a post to the site of a ball joint's body."""
    path = f'<spatial name="{{n}}" {tendon}><site site="{{n}}ref"/><site site="{{n}}s"/></spatial>'
    return {"body": BALL + POST, "tendon": path}


def _with(body: str, before: str, after: str) -> str:
    assert before in body
    return body.replace(before, after)


BALL, FREE = _single('type="ball"'), _single('type="free"')
POST = '<site name="{n}ref" pos=".1 -.1 .3" euler="30 10 0"/>'
PAIR = 'site="{n}s" refsite="{n}ref"'
WELDED = '<body pos=".2 .1 0" euler="0 40 10"><geom type="box" size=".1 .05 .1" mass=".5"/></body>'
SLIDES = """<body name="{n}"><joint name="{n}" type="slide" axis="1 0 0"/>
  <joint name="{n}2" type="slide" axis="0 1 0"/><geom size=".1" mass="1"/></body>"""
FINGERS = """<body><joint name="{n}0" axis="0 1 0"/><geom size=".1" mass="1"/>
  <body pos=".2 0 0"><joint name="{n}" type="slide" axis="1 0 1"/>
    <geom size=".05" mass=".3"/></body>
  <body pos="-.2 0 0"><joint name="{n}2" type="slide" axis="1 0 0"/><geom size=".05" mass=".2"/>
  </body></body>"""
CENTRED = '<body><freejoint name="{n}"/><geom size=".1" mass="1"/></body>'
TWO_ARMS = arm() + arm().replace("{n}", "{n}2")
DAMPED = 'damping="3 1 2"'
SPRUNG = 'stiffness="9 3 2" damping=".3 .2 .1" springlength="{}"'.format
MUSCLE = ".75 1.05 40 200 .5 1.6 1.5 1.3 1.2"
LIGHT = _with(arm(), '<body name="{n}">', '<body name="{n}" gravcomp=".7">')
LIGHT_BY_MOTOR = _with(LIGHT, "axis=", 'actuatorgravcomp="true" actuatorfrcrange="-1 1" axis=')
LIGHT_ELBOW = _with(ELBOW, "<body", '<body gravcomp="1.2"')
TIPPED = _with(ELBOW, "</body>", '<site name="{n}ref" pos=".2 0 .1" euler="0 20 0"/></body>')

OTHERS = {
    # transmissions
    "ball in its own frame": Mechanism(BALL, **_servo('joint="{n}"', "2 -1 .5", 0.4)),
    "ball in its parent's": Mechanism(BALL, **_servo('jointinparent="{n}"', "2 -1 .5", 0.4)),
    "ball integrated": Mechanism(
        BALL,
        actuator='<intvelocity joint="{n}" gear="0 1 0" kp="9" kv="2" actrange="-20 20"/>',
        ctrl=0.4,
        act=9.0,
    ),
    "free": Mechanism(FREE, **_drag('joint="{n}"', "1 2 3 .3 .2 .1")),
    "free in the world": Mechanism(FREE, **_drag('jointinparent="{n}"', "1 2 3 .3 .2 .1")),
    "site": Mechanism(BALL, **_drag('site="{n}s"', "1 -2 3 .5 .4 .3")),
    "site of a free body": Mechanism(FREE, **_drag('site="{n}s"', "1 -2 3 .5 .4 .3")),
    "site and post": Mechanism(BALL + POST, **_servo(PAIR, "1 -2 3 .5 .4 .3", 0.8)),
    "turn of site and post": Mechanism(BALL + POST, **_servo(PAIR, "0 0 0 .5 -.4 .3", 9.8)),
    "site and site above": Mechanism(
        arm().replace("{child}", TIPPED), **_servo(PAIR, "1 2 -1 .5 1 2", 0.8)
    ),
    "wire": Mechanism(**_wire(""), **_servo('tendon="{n}"', "3", 0.3)),
    # couplings that M has no entry for
    "fingers": Mechanism(FINGERS, **_coupled(DAMPED)),
    "slides": Mechanism(SLIDES, **_coupled(f'{DAMPED} armature=".2"')),
    "two arms": Mechanism(TWO_ARMS, **_coupled(DAMPED)),
    "fingers with armature": Mechanism(FINGERS, **_coupled('armature=".3"')),
    "wire with armature": Mechanism(**_wire(f'{DAMPED} armature=".4"')),
    # bodies on their own, and not
    "flying": Mechanism(_single('type="free" damping=".3"')),
    "flying with a passenger": Mechanism(_single('type="free"', WELDED)),
    "flying with an arm": Mechanism(_single('type="free"', ELBOW)),
    "flying, centred": Mechanism(CENTRED),
    # a limit that the short names do not take
    "muscle with a limited activation": Mechanism(
        arm(),
        actuator='<general joint="{n}" dyntype="muscle" gaintype="muscle" biastype="muscle" '
        f'lengthrange="-2 2.5" dynprm=".01 .04" gainprm="{MUSCLE}" biasprm="{MUSCLE}" '
        'actrange=".1 .601"/>',
        ctrl=0.9,
        act=0.6,
    ),
    # springs and dampers
    "spring": Mechanism(arm('stiffness="3 2 -1" springref="20"')),
    "nonlinear damper": Mechanism(_with(arm(), 'damping=".1"', 'damping=".5 .4 .3"')),
    "ball spring": Mechanism(_single('type="ball" stiffness="3 2 1" damping=".2 .1 .3"')),
    "free spring": Mechanism(_single('type="free" stiffness="30 2 1" damping=".2 .1 .3"')),
    "slack wire": Mechanism(**_wire(SPRUNG("1"))),
    "taut wire": Mechanism(**_wire(SPRUNG(".1 .2"))),
    # weightless
    "weightless": Mechanism(LIGHT.replace("{child}", ELBOW)),
    "weightless by motor": Mechanism(
        LIGHT_BY_MOTOR.replace("{child}", LIGHT_ELBOW), **_servo('joint="{n}"', "1", 0.3)
    ),
}

MECHANISMS = _limits() | OTHERS


def scene(
    integrator: str, flag: str = "", option: str = "", mechanisms: dict[str, Mechanism] = MECHANISMS
) -> tuple[mujoco.MjModel, mujoco.MjData]:
    """The scene and the state that every limit is active in."""
    parts: dict[str, str] = {"body": "", "tendon": "", "actuator": ""}
    for i, (name, mechanism) in enumerate(mechanisms.items()):
        for kind in parts:
            text = getattr(mechanism, kind)
            for place, value in (("{n}", name), ("{child}", ""), ("{limit}", ""), ("{joint}", "")):
                text = text.replace(place, value)
            parts[kind] += f'<frame pos="0 {i} 0">{text}</frame>' if kind == "body" else text
    mj_model = mujoco.MjModel.from_xml_string(f"""<mujoco>
      <option timestep=".004" integrator="{integrator}" {option}>
        <flag constraint="disable" {flag}/></option>
      <default><geom contype="0" conaffinity="0"/></default>
      <worldbody>{parts["body"]}</worldbody>
      <tendon>{parts["tendon"]}</tendon>
      <actuator>{parts["actuator"]}</actuator></mujoco>""")
    return mj_model, _state(mj_model, mechanisms)


def _state(mj_model: mujoco.MjModel, mechanisms: dict[str, Mechanism]) -> mujoco.MjData:
    mj_data = mujoco.MjData(mj_model)
    rng = np.random.default_rng(3)
    v = rng.uniform(0.2, 0.6, mj_model.nv) * rng.choice([-1, 1], mj_model.nv)
    mujoco.mj_integratePos(mj_model, mj_data.qpos, v, 1.0)
    mj_data.qvel[:] = rng.uniform(0.3, 0.9, mj_model.nv) * rng.choice([-1, 1], mj_model.nv)
    acting = [mechanism for mechanism in mechanisms.values() if mechanism.actuator]
    mj_data.ctrl[:] = [mechanism.ctrl for mechanism in acting]
    for mechanism, adr in zip(acting, mj_model.actuator_actadr):
        if adr >= 0:
            mj_data.act[adr] = mechanism.act
    return mj_data
