import numpy as np
import pytest
from helpers.data import SIZES, SMALL

from tpifu.body.body import embedded_body
from tpifu.clips.clip import clip_name, read_clip
from tpifu.prepare.meshes import REST_HEIGHT, centred_meshes, export_meshes
from tpifu.shards.meshes import MeshReader


def test_exported_meshes_match_the_clips_joints_up_to_scale(synthetic_tree, tmp_path):
    export_meshes(synthetic_tree, tmp_path / "meshes", SMALL, 0, jobs=1)
    reader = MeshReader(tmp_path / "meshes")
    assert len(reader.shards) == sum(SIZES.values())
    assert reader.shards.metadata["frame_step"] == 5
    for clip in reader.clips()[:4]:
        for frame in clip.read():
            assert frame.source_frame == 5 * frame.frame
            (path,) = synthetic_tree.glob(f"cmu/*/run0/{frame.sequence}/*_c0001_info.mat")
            assert frame.clip == clip_name(path)
            source = read_clip(path)
            body = embedded_body(source.gender)
            scale = REST_HEIGHT / np.ptp(body.rest(source.betas)[0][:, 1])
            vertices, joints = body.pose(source.pose[[frame.source_frame]], source.betas)
            place = joints[0] - joints[0, 0]
            stored_joints = source.joints[frame.source_frame]
            np.testing.assert_allclose(place, stored_joints - stored_joints[0], atol=1e-4)
            np.testing.assert_allclose(
                frame.mesh.vertices, (vertices[0] - joints[0, 0]) * scale, atol=1e-5
            )


def test_a_crouching_body_keeps_its_size():
    body = embedded_body("male")
    betas = np.zeros(10, np.float32)
    pose = np.zeros((2, 72), np.float32)
    pose[1, [3, 6]] = -2.0  # hips
    pose[1, [12, 15]] = 2.0  # knees
    standing, crouching = centred_meshes(body, pose, betas)
    assert np.ptp(standing.vertices[:, 1]) == pytest.approx(REST_HEIGHT, abs=1e-4)
    assert np.ptp(crouching.vertices[:, 1]) < 1.4
    head = standing.vertices[:, 1].argmax()

    def neck_to_head(mesh):
        return np.linalg.norm(mesh.vertices[head] - mesh.vertices[mesh.vertices[:, 0].argmax()])

    assert neck_to_head(standing) == pytest.approx(neck_to_head(crouching), rel=0.02)
