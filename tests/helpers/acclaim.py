"""Acclaim skeletons and motions for tests, and a slow reference for their kinematics."""

import math

import numpy as np
from jaxtyping import Float

# Name, parent, direction, length, axis, dof, as in CMU's files. The right side mirrors the left.
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
METRES = 0.056444
"""Metres per unit of length, from CMU's FAQ: 2.54 / 100 / 0.45."""

Angles = dict[str, Float[np.ndarray, "t 3"]]
"""Angles of each bone about x, y, z in degrees; 0 for bones that are absent."""


def asf_text() -> str:
    lines = [
        "# AST/ASF file generated using VICON BodyLanguage",
        ":version 1.10",
        ":name VICON",
        ":units",
        "  mass 1.0",
        "  length 0.45",
        "  angle deg",
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
        lines.append("     axis " + " ".join(f"{x:g}" for x in axis) + "   XYZ")
        if dof:
            lines.append(f"    dof {dof}")
            limits = ["(-160.0 20.0)"] * len(dof.split())
            lines += [f"    limits {limits[0]}", *(f"           {limit}" for limit in limits[1:])]
        lines.append("  end")
    lines += [":hierarchy", "  begin"]
    for parent in ["root", *(bone[0] for bone in BONES)]:
        if children := [bone[0] for bone in BONES if bone[1] == parent]:
            lines.append(f"    {parent} {' '.join(children)}")
    return "\n".join([*lines, "  end", ""])


def amc_text(angles: Angles, position: Float[np.ndarray, "t 3"] | None = None) -> str:
    frames = len(next(iter(angles.values())))
    position = np.zeros((frames, 3)) if position is None else position
    lines = [
        "#!OML:ASF F:\\VICON\\USERDATA\\INSTALL\\rory3\\rory3.ASF",
        ":FULLY-SPECIFIED",
        ":DEGREES",
    ]
    for frame in range(frames):
        lines.append(str(frame + 1))
        for name, dofs in DOFS.items():
            own = angles[name][frame] if name in angles else np.zeros(3)
            values = [*position[frame], *own] if name == "root" else own[dofs]
            lines.append(f"{name} " + " ".join(f"{value:.9g}" for value in values))
    return "\n".join([*lines, ""])


def walking(frames: int) -> Angles:
    """A walk with a step every half second, at 120 frames per second."""
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


def random_angles(frames: int, seed: int = 0, spread: float = 25.0) -> Angles:
    rng = np.random.default_rng(seed)
    angles = {}
    for name, dofs in DOFS.items():
        angles[name] = np.zeros((frames, 3))
        angles[name][:, dofs] = rng.uniform(-spread, spread, size=(frames, len(dofs)))
    angles["root"] *= 3
    return angles


def standing(frames: int = 1) -> Angles:
    """Legs together instead of apart, arms at the sides."""
    degrees = {"root": 0, "lfemur": -20, "rfemur": 20, "lhumerus": 80, "rhumerus": -80}
    return {name: np.tile([0.0, 0.0, about_z], (frames, 1)) for name, about_z in degrees.items()}


def matrix(axis: int, degrees: float) -> Float[np.ndarray, "3 3"]:
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = [[[1, 0, 0], [0, c, -s], [0, s, c]], [[c, 0, s], [0, 1, 0], [-s, 0, c]]]
    rows.append([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return np.array(rows[axis], dtype=float)


def xyz(angles) -> Float[np.ndarray, "3 3"]:
    return matrix(2, angles[2]) @ matrix(1, angles[1]) @ matrix(0, angles[0])


def slow_skeleton(angles: Angles, frame: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Start and end of every bone in metres from the root, by recursion over the format."""
    table = {bone[0]: bone for bone in BONES}

    def place(name: str):
        own = xyz(angles[name][frame] if name in angles else (0, 0, 0))
        if name == "root":
            return own, np.zeros(3)
        _, parent, direction, length, axis, _ = table[name]
        before, start = place(parent)
        turned = before @ xyz(axis) @ own @ np.linalg.inv(xyz(axis))
        unit = np.array(direction) / np.linalg.norm(direction)
        return turned, start + turned @ unit * length * METRES

    return {bone[0]: (place(bone[1])[1], place(bone[0])[1]) for bone in BONES}
