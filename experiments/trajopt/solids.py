"""Convex bodies drawn in perspective-free 3D: shaded quadrilaterals, those behind left out."""

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon

LIGHT = np.array([0.35, -0.5, 0.8])
TURNS, RINGS = 16, 5  # quadrilaterals around a round body, and over a quarter of its height


def camera(azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
    """Rows: right, up and towards the viewer, in world axes (z up); angles in degrees."""
    a, e = np.radians([azimuth, elevation])
    toward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(toward, right), toward])


def surface(body: str, size: tuple[float, ...]) -> Float[np.ndarray, "faces 4 3"]:
    """Corners of the faces of a cube, box, cylinder, capsule or ellipsoid, outside to the left.

    Args:
        size: MuJoCo's sizes, m: half sides; radius and half length; half axes.
    """
    if body in ("cube", "box"):
        return np.array([_corners(s * e) * size for e in np.eye(3) for s in (1.0, -1.0)])
    quarter = np.linspace(0.0, np.pi / 2, RINGS + 1)
    ring, rise = np.cos(quarter), np.sin(quarter)
    if body == "cylinder":
        ring, rise = size[0] * np.array([1.0, 0.0]), size[1] * np.ones(2)
    elif body == "capsule":
        ring, rise = size[0] * ring, size[1] + size[0] * rise
    profile = np.concatenate([np.stack([ring, -rise], 1)[::-1], np.stack([ring, rise], 1)])
    angle = np.linspace(0.0, 2 * np.pi, TURNS + 1)
    radius, height = profile[:, 0, None], profile[:, 1, None]
    grid = np.stack(
        np.broadcast_arrays(radius * np.cos(angle), radius * np.sin(angle), height), axis=-1
    )
    low, high = grid[:-1], grid[1:]
    faces = np.stack([low[:, :-1], low[:, 1:], high[:, 1:], high[:, :-1]], axis=2).reshape(-1, 4, 3)
    return faces * size if body == "ellipsoid" else faces


def draw_solids(
    axes: Axes,
    view: Float[np.ndarray, "3 3"],
    pos: Float[np.ndarray, "n 3"],
    quat: Float[np.ndarray, "n 4"],
    faces: Float[np.ndarray, "faces 4 3"],
    color: str,
    alpha: Float[np.ndarray, " n"],
) -> None:
    """Draw a body in n poses (m), far ones first, shaded by a fixed light."""
    edge = "black" if len(faces) <= 6 else "none"
    for i in np.argsort(pos @ view[2]):
        corners = pos[i] + faces @ _matrix(quat[i]).T
        normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
        for face, normal in zip(corners, normals):
            if normal @ view[2] <= 0:
                continue
            shade = 0.55 + 0.45 * max(normal @ LIGHT / np.linalg.norm(normal), 0.0)
            fill = tuple(min(1.0, c * shade) for c in to_rgb(color))
            axes.add_patch(Polygon(face @ view[:2].T, fc=fill, ec=edge, lw=0.5, alpha=alpha[i]))


def _corners(side: np.ndarray) -> np.ndarray:
    """The four corners, in order, of the face of the cube [-1, 1]^3 with outward normal `side`."""
    axis = int(np.argmax(np.abs(side)))
    u, v = np.roll(np.eye(3), -axis - 1, axis=0)[:2]
    order = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    return np.array([side + a * u + b * v for a, b in order[:: int(side[axis])]])


def _matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion (w, x, y, z), body to world."""
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
