"""Acclaim files made by tests: a skeleton and motions."""

import math

import numpy as np
from jaxtyping import Float

# Name, parent, direction, length, axis, dof, as CMU has them; the right side mirrors the left.
CENTRAL = [
    ("lowerback", "root", (0.0, 0.994, -0.110), 2.03, (0, 0, 0), "rx ry rz"),
    ("upperback", "lowerback", (0.0, 1.0, 0.005), 2.03, (0, 0, 0), "rx ry rz"),
    ("thorax", "upperback", (0.0, 0.998, 0.056), 2.06, (0, 0, 0), "rx ry rz"),
    ("lowerneck", "thorax", (0.0, 0.993, 0.121), 1.72, (0, 0, 0), "rx ry rz"),
    ("upperneck", "lowerneck", (0.0, 0.992, -0.128), 1.74, (0, 0, 0), "rx ry rz"),
    ("head", "upperneck", (0.0, 0.998, -0.056), 1.74, (0, 0, 0), "rx ry rz"),
]


SIDED = [
    ("hipjoint", "root", (0.674, -0.716, 0.183), 2.64, (0, 0, 0), ""),
    ("femur", "hipjoint", (0.34202, -0.939693, 0.0), 7.41, (0, 0, 20), "rx ry rz"),
    ("tibia", "femur", (0.34202, -0.939693, 0.0), 7.93, (0, 0, 20), "rx"),
    ("foot", "tibia", (0.0787, -0.2162, 0.9732), 2.29, (-90, 0, 20), "rx rz"),
    ("toes", "foot", (0.0, 0.0, 1.0), 1.15, (-90, 0, 20), "rx"),
    ("clavicle", "thorax", (0.953, 0.285, -0.107), 3.53, (0, 0, 0), "ry rz"),
    ("humerus", "clavicle", (1.0, 0.0, 0.0), 5.07, (180, -30, -90), "rx ry rz"),
    ("radius", "humerus", (1.0, 0.0, 0.0), 3.60, (180, -30, -90), "rx"),
    ("wrist", "radius", (1.0, 0.0, 0.0), 1.80, (0, 90, 90), "ry"),
    ("hand", "wrist", (1.0, 0.0, 0.0), 0.45, (0, 90, 90), "rx rz"),
    ("fingers", "hand", (1.0, 0.0, 0.0), 0.36, (0, 90, 90), "rx"),
    ("thumb", "wrist", (0.707107, 0.0, 0.707107), 0.52, (-90, 45, 0), "rx rz"),
]


def sided(side: str):
    sign = 1 if side == "l" else -1
    for name, parent, (x, y, z), length, (a, b, c), dof in SIDED:
        parent = parent if parent in ("root", "thorax") else side + parent
        yield side + name, parent, (sign * x, y, z), length, (a, sign * b, sign * c), dof


BONES = [*sided("l"), *sided("r"), *CENTRAL]


DOFS = {"root": [0, 1, 2]} | {
    name: [("rx", "ry", "rz").index(turn) for turn in dof.split()] for name, *_, dof in BONES if dof
}


Angles = dict[str, Float[np.ndarray, "t 3"]]
"""Degrees about x, y, z; bones left out keep still."""


def asf_text(*, angle: str = "deg", still: tuple[str, ...] = ()) -> str:
    factor = 1.0 if angle == "deg" else math.pi / 180
    lines = [
        "# AST/ASF file generated using VICON BodyLanguage",
        ":version 1.10",
        ":name VICON",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        f"  angle {angle}",
        ":documentation",
        "   .ast/.asf automatically generated from VICON data using",
        "   VICON BodyBuilder and BodyLanguage model FoxedUp or BRILLIANT.MOD",
        ":root",
        "   order TX TY TZ RX RY RZ",
        "   axis XYZ",
        "   position 0 0 0  ",
        "   orientation 0 0 0 ",
        ":bonedata",
    ]
    for number, (name, _, direction, size, axis, dof) in enumerate(BONES, 1):
        lines += ["  begin", f"     id {number} ", f"     name {name}"]
        lines.append("     direction " + " ".join(f"{x:g}" for x in direction))
        lines.append(f"     length {size:g}")
        lines.append("     axis " + " ".join(f"{factor * x:.12g}" for x in axis) + "   XYZ")
        if dof and name not in still:
            lines.append(f"    dof {dof}")
            limits = ["(-160.0 20.0)"] * len(dof.split())
            lines += [f"    limits {limits[0]}", *(f"           {limit}" for limit in limits[1:])]
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for parent in ["root", *(bone[0] for bone in BONES)]:
        if children := [bone[0] for bone in BONES if bone[1] == parent]:
            lines.append(f"    {parent} {' '.join(children)}")
    return "\n".join([*lines, "  end", ""])


def amc_text(
    angles: Angles,
    position: Float[np.ndarray, "t 3"] | None = None,
    *,
    radians: bool = False,
    still: tuple[str, ...] = (),
) -> str:
    frames = len(next(iter(angles.values())))
    position = np.zeros((frames, 3)) if position is None else position
    factor = math.pi / 180 if radians else 1.0
    lines = [
        "#!OML:ASF F:\\VICON\\USERDATA\\INSTALL\\rory3\\rory3.ASF",
        ":FULLY-SPECIFIED",
        ":RADIANS" if radians else ":DEGREES",
    ]
    for frame in range(frames):
        lines.append(str(frame + 1))
        for name, dofs in ((name, dofs) for name, dofs in DOFS.items() if name not in still):
            own = factor * angles[name][frame] if name in angles else np.zeros(3)
            values = [*position[frame], *own] if name == "root" else own[dofs]
            lines.append(f"{name} " + " ".join(f"{value:.9g}" for value in values))
    return "\n".join([*lines, ""])


def walking(frames: int) -> Angles:
    """120 frames a second, a step every half second."""
    phase = 2 * np.pi * np.arange(frames) / 120
    swing, zero = np.sin(phase), np.zeros(frames)
    angles = {
        "root": np.stack([zero + 2, 6 * swing, zero], axis=1),
        "lowerback": np.stack([zero + 3, -6 * swing, zero], axis=1),
    }
    for side, sign in (("l", 1), ("r", -1)):
        lift = np.clip(np.cos(phase) * sign, 0, 1)
        angles[f"{side}femur"] = np.stack([-24 * sign * swing - 10, zero, zero - 20 * sign], 1)
        angles[f"{side}tibia"] = np.stack([10 + 50 * lift, zero, zero], axis=1)
        angles[f"{side}humerus"] = np.stack([zero, 22 * swing, zero + 78 * sign], axis=1)
        angles[f"{side}radius"] = np.stack([zero + 25, zero, zero], axis=1)
    return angles
