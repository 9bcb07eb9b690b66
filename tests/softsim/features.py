"""A model per MuJoCo feature: what softsim simulates, and what `put_model` refuses by name.

SUPPORTED models must move as in MuJoCo C; REFUSED ones must raise with both given words in the
message. `docs/supported.md` is written from the same two tables.
"""


def _scene(
    joint: str = 'type="hinge" axis="0 1 0"',
    geom: str = 'size=".1" pos=".2 0 0"',
    option: str = "",
    extra: str = "",
    world: str = "",
    actuator: str = "",
    sensor: str = "",
    body: str = "",
) -> str:
    return f"""<mujoco><option timestep=".004" {option}/>{extra}
    <worldbody>{world}<site name="s0" pos="0 0 .5"/>
    <body name="b" pos="0 0 1" {body}><joint name="j" {joint}/><geom name="g" mass="1" {geom}/>
    <site name="s" pos=".1 0 .05"/></body></worldbody>
    <actuator>{actuator}</actuator><sensor>{sensor}</sensor></mujoco>"""


_TENDON = '<tendon><spatial name="t" {}><site site="s0"/><site site="s"/></spatial></tendon>'
_CUBE = """<asset><mesh name="cube" vertex="-1 -1 -1 1 -1 -1 -1 1 -1 1 1 -1 -1 -1 1 1 -1 1 -1 1 1
1 1 1" scale=".1 .1 .1"/></asset>"""
_TWO_FREE = """<body name="f1" pos="1 0 .3"><freejoint/><geom name="g1" size=".1"/></body>
<body name="f2" pos="1 0 .6"><freejoint/><geom name="g2" size=".1"/></body>"""

SUPPORTED: dict[str, str] = {
    "hinge": _scene(),
    "slide": _scene('type="slide" axis="0 .6 .8"'),
    "ball": _scene('type="ball"'),
    "free": _scene('type="free"'),
    "joint armature, damping, stiffness, springref": _scene(
        'armature=".1" damping=".3" stiffness="5" springref="20"'
    ),
    "joint frictionloss": _scene('frictionloss=".2"'),
    "joint limit": _scene('range="-1 .1" limited="true"'),
    "gravity compensation": _scene(body='gravcomp=".7"'),
    "motor": _scene(actuator='<motor joint="j" gear="2"/>'),
    "position servo": _scene(actuator='<position joint="j" kp="5" kv=".2"/>'),
    "velocity servo": _scene(actuator='<velocity joint="j" kv="5"/>'),
    "intvelocity servo": _scene(actuator='<intvelocity joint="j" kp="5" actrange="-1 1"/>'),
    "damper": _scene(actuator='<damper joint="j" kv="5" ctrlrange="0 1"/>'),
    "filtered actuator": _scene(
        actuator='<general joint="j" dyntype="filter" dynprm=".1" gainprm="2"/>'
    ),
    "exact filter actuator": _scene(
        actuator='<general joint="j" dyntype="filterexact" dynprm=".1" gainprm="2"/>'
    ),
    "muscle": _scene(
        extra=_TENDON.format('range=".1 2"'), actuator='<muscle tendon="t" lengthrange=".2 1"/>'
    ),
    "site transmission": _scene(actuator='<general site="s" gear="1 0 0 0 1 0"/>'),
    "joint in parent": _scene('type="ball"', actuator='<motor jointinparent="j" gear="1 2 3"/>'),
    "actuator force range": _scene(actuator='<motor joint="j" forcerange="-.1 .1"/>'),
    "tendon spring, damper": _scene(
        extra=_TENDON.format('stiffness="20" damping="1" springlength=".2"')
    ),
    "nonlinear stiffness": _scene('stiffness="1 2 3"'),
    "nonlinear damping": _scene('damping="1 2 3"'),
    "nonlinear tendon stiffness": _scene(
        extra=_TENDON.format('stiffness="1 2 3" damping="1 2 3" springlength=".2"')
    ),
    "tendon armature": _scene(extra=_TENDON.format('armature=".5"')),
    "fluid drag": _scene(option='density="100" viscosity="2" wind=".5 0 0"'),
    "implicitfast": _scene('damping="2"', option='integrator="implicitfast"'),
    "fluid with implicitfast": _scene(
        option='density="100" viscosity="2" wind=".5 0 0" integrator="implicitfast"'
    ),
    "RK4": _scene(option='integrator="RK4"'),
    "no eulerdamp": _scene('damping="2"', option="").replace(
        '<option timestep=".004" />', '<option timestep=".004"><flag eulerdamp="disable"/></option>'
    ),
    "mocap body, joint equality": _scene(
        extra='<equality><joint joint1="j" polycoef=".1 0 0 0 0"/></equality>',
        world='<body name="m" mocap="true" pos="1 1 1"><geom size=".1" contype="0"/></body>',
    ),
    "sphere on plane": _scene(
        'type="free"', 'size=".1" condim="4"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .901"/>',
    ),
    "elliptic friction": _scene(
        'type="free"',
        'size=".1" condim="6"',
        option='cone="elliptic" impratio="3"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .901"/>',
    ),
    "contact margin": _scene(
        'type="free"', 'size=".1" margin=".05"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .88"/>',
    ),
    "contact gap": _scene(
        'type="free"', 'size=".1" margin=".05" gap=".03"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .88"/>',
    ),
    "margin of a mesh": _scene(
        'type="free"', 'type="mesh" mesh="cube" margin=".05"', extra=_CUBE,
        world='<geom size=".1" pos="0 0 .79" margin=".01"/>',
    ),
    "elliptic cone, condim 1": _scene(
        'type="free"', 'size=".1" condim="1"', option='cone="elliptic"',
        world='<geom type="plane" size="1 1 1" condim="1" pos="0 0 .901"/>',
    ),
    "noslip": _scene(
        'type="free"', 'size=".1" condim="4"', option='noslip_iterations="3"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .901" euler="10 5 0"/>',
    ),
    "noslip, elliptic": _scene(
        'frictionloss=".2"', 'size=".1" pos=".2 0 0" condim="6" friction=".1 .01 .01"',
        option='cone="elliptic" noslip_iterations="4"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .901"/>',
    ),
    "solver PGS": _scene(
        'type="free"', 'size=".1"', option='solver="PGS"',
        world='<geom type="plane" size="1 1 1" pos="0 0 .901"/>',
    ),
    "energy, fwdinv and island flags": _scene(
        'range="-1 .1" limited="true"'
    ).replace('<option timestep=".004" />', '<option timestep=".004">'
              '<flag energy="enable" fwdinv="enable" island="enable"/></option>'),
    "explicit pair": _scene(
        'type="free"',
        'size=".1" contype="0" conaffinity="0"',
        world='<geom name="floor" type="plane" size="1 1 1" pos="0 0 .901"/>',
        extra='<contact><pair geom1="floor" geom2="g" friction=".3 .3 .01 .01 .01"/></contact>',
    ),
}  # fmt: skip

# the model, and two words that the error must hold: the element and the feature
REFUSED: dict[str, tuple[str, str, str]] = {
    "geom surfacevel": (_scene(geom='size=".1" surfacevel="1 0 0 0 0 0"'), '"g"', "surfacevel"),
    "geom adhesion": (_scene(geom='size=".1" adhesion="1"'), '"g"', "adhesion"),
    "ellipsoid fluid model": (
        _scene(geom='size=".1" fluidshape="ellipsoid"', option='density="1"'), '"g"', "fluidshape",
    ),
    "integrator implicit": (_scene(option='integrator="implicit"'), "option", "IMPLICIT"),
    "integrator discrete": (_scene(option='integrator="discrete"'), "option", "DISCRETE"),
    "disabled actuator group": (
        _scene(option='actuatorgroupdisable="1"', actuator='<motor joint="j"/>'), "option", "group",
    ),
    "contact override": (
        _scene().replace('<option timestep=".004" />',
                         '<option timestep=".004"><flag override="enable"/></option>'),
        "option", "override",
    ),
    "sleeping": (
        _scene().replace('<option timestep=".004" />',
                         '<option timestep=".004"><flag sleep="enable"/></option>'),
        "option", "sleep",
    ),
    "actuator actearly": (
        _scene(actuator='<general name="a" joint="j" dyntype="integrator" actearly="true"/>'),
        '"a"', "actearly",
    ),
    "actuator delay": (
        _scene(actuator='<motor name="a" joint="j" delay=".01" nsample="5"/>'), '"a"', "delay",
    ),
    "actuator damping": (
        _scene(actuator='<motor name="a" joint="j" damping="1"/>'), '"a"', "damping",
    ),
    "actuator armature": (
        _scene(actuator='<motor name="a" joint="j" armature="1"/>'), '"a"', "armature",
    ),
    "slider-crank": (
        _scene(actuator='<motor name="a" cranksite="s" slidersite="s0" cranklength=".5"/>'),
        '"a"', "slidercrank",
    ),
    "adhesion actuator": (
        _scene(actuator='<adhesion name="a" body="b" ctrlrange="0 1" gain="2"/>'), '"a"', "body",
    ),
    "pid actuator": (_scene(actuator='<pid name="a" joint="j" kp="1"/>'), '"a"', "pid"),
    "dc motor": (
        _scene(actuator='<dcmotor name="a" joint="j" motorconst="1" resistance="1"/>'),
        '"a"', "dcmotor",
    ),
    "flex": (
        _scene(world='<flexcomp name="f" type="grid" count="3 3 1" spacing=".1 .1 .1" radius=".01"'
               ' pos="3 0 0" dim="2"/>'),
        '"f"', "flex",
    ),
    "pair without collider": (
        _scene('type="free"', 'type="sdf" mesh="cube"',
               world='<geom name="box" type="box" size=".1 .1 .1"/>', extra=_CUBE),
        '"g"', '"box"',
    ),
    "unsupported sensor": (
        _scene(sensor='<jointlimitpos name="x" joint="j"/>').replace(
            'name="j"', 'name="j" range="-1 1" limited="true"'), "", "JOINTLIMITPOS",
    ),
}  # fmt: skip
