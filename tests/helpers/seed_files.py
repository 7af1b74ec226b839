"""Small valid files of every format that the project reads, and the readers of the commands."""

import base64
import io
import json
import shutil
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
import torch
import trimesh
from PIL import Image, ImageCms

from helpers import acclaim, smpl_files
from helpers.pictures import person
from tpifu.body.body import embedded_body, load_body
from tpifu.body.licensed import ModelFile
from tpifu.clips.clip import Clip, clip_path, read_clip, read_source, write_clip
from tpifu.clips.matfile import FIELDS
from tpifu.config import DataRecord, Hourglass, Model, Render, Sample
from tpifu.dataset.windows import Windows
from tpifu.geometry.import_mesh.load import load_mesh
from tpifu.geometry.mesh import Mesh
from tpifu.geometry.mesh_files import read_mesh
from tpifu.import_pifu import import_pifu
from tpifu.model.folder import TrainedModel, load_model, save_model
from tpifu.model.pifu import PIFu
from tpifu.params_file import default_file, load
from tpifu.pictures.contact_sheet import describe, open_folder
from tpifu.prepare.points import write_points
from tpifu.prepare.views import write_views
from tpifu.reconstruct.inputs import read_pictures, read_shards
from tpifu.shards.folder import DataFolder
from tpifu.shards.meshes import MeshFrame, MeshReader, write_meshes
from tpifu.sources.cmu.acclaim import read_motion, read_skeleton
from tpifu.sources.cmu.retarget import retarget
from tpifu.sources.surreal.lists import read_list

CPU = torch.device("cpu")
NETWORK = Model(hourglass=Hourglass(stacks=1, depth=1, dim=8), mlp=(8,), neighborhood=1)
LIST = "cmu/train/run0/01_01/01_01_c0001_info.mat\ncmu/test/run1/02_01/02_01_c0012_info.mat\n"
SOURCE = {"source": "mine", "licence": "none", "citation": "A Book, 1999", "bodies": {"a": [1]}}


class Format(NamedTuple):
    path: Path
    """The file to replace by mutated ones."""
    read: Callable[[Path], Any]
    """Reads the file as the commands do."""
    seeds: list[bytes]


def write_formats(folder: Path) -> dict[str, Format]:
    """Every format by name. Each has a folder with the files that its reader needs, too."""
    formats = {}

    def add(name: str, file: str, read: Callable[[Path], Any], *seeds: bytes) -> None:
        path = folder / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(seeds[0])
        formats[name] = Format(path, read, list(seeds))

    for suffix, seeds in _pictures().items():
        add(suffix, f"a.{suffix}", _read_pictures, *seeds)
    for suffix, seeds in _meshes().items():
        add(suffix, f"a.{suffix}", _read_mesh_file, *seeds)
        if suffix in ("glb", "obj", "ply", "stl"):
            add(f"own-{suffix}", f"a.{suffix}", read_mesh, *seeds)
    _write_data(folder / "data")
    for kind, read in (("meshes", _read_meshes), ("views", _read_views), ("points", _read_points)):
        shutil.copytree(folder / "data", folder / kind)
        file = f"{kind}/test-00000.parquet"
        add(kind, file, read, (folder / kind / file).read_bytes())
    shutil.copytree(folder / "data", folder / "faces")
    faces = folder / "data" / "meshes" / "faces.parquet"
    add("faces", "meshes/faces.parquet", _read_meshes, faces.read_bytes())
    add("model", "model.pt", _read_model, _model(folder / "data"))
    add("net_G", "net_G", _read_net_g, _saved({"image_filter.conv1.weight": torch.zeros(4, 3)}))
    body = smpl_files.model(vertices=24)
    pickled = [smpl_files.python2(smpl_files.as_stored(body), number) for number in (0, 2)]
    add("smpl.npz", "m.npz", _read_smpl, smpl_files.npz(body))
    add("smpl.pkl", "m.pkl", _read_smpl, *pickled)
    embedded = resources.files("tpifu.body") / "assets" / "body_male.npz"
    add("body", "male.npz", _read_body, embedded.read_bytes())
    add("mat", "01_walk/01_walk_c0001_info.mat", read_clip, *_clips(folder / "data"))
    add("source", "source.json", _read_source, json.dumps(SOURCE).encode())
    asf, amc = acclaim.asf_text(), acclaim.amc_text(acclaim.walking(3))
    for name in ("asf", "amc"):
        (folder / name).mkdir()
        (folder / name / "a.asf").write_text(asf)
        (folder / name / "a.amc").write_text(amc)
        add(name, f"a.{name}", _read_take, (asf if name == "asf" else amc).encode())
    add("list", "clips.txt", read_list, LIST.encode())
    add("yaml", "params.yaml", load, default_file().read_bytes())
    return formats


def _pictures() -> dict[str, list[bytes]]:
    image = Image.fromarray(person())
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    film = {"save_all": True, "append_images": [Image.fromarray(person(150))], "duration": 100}

    def saved(kind: str, image: Image.Image = image, **options: Any) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    return {
        "png": [
            saved("PNG"),
            saved("PNG", icc_profile=profile, exif=exif),
            saved("PNG", image.quantize(16)),
            saved("PNG", image.convert("LA"), dpi=(72, 72)),
            saved("PNG", **film),
        ],
        "webp": [saved("WEBP"), saved("WEBP", lossless=True, exif=exif), saved("WEBP", **film)],
        "gif": [saved("GIF"), saved("GIF", **film)],
        "tif": [saved("TIFF"), saved("TIFF", compression="tiff_lzw", exif=exif)],
        "jpg": [saved("JPEG", image.convert("RGB"), exif=exif)],
    }


def _meshes() -> dict[str, list[bytes]]:
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.8)
    box = "".join(f"v {x} {y} {z}\n" for x in (-1, 1) for y in (-1, 1) for z in (-1, 1))
    faces = ["1 2 4 3", "5 7 8 6", "1 5 6 2", "3 4 8 7", "1 3 7 5", "2 6 8 4"]
    box += "vn 0 1 0\nusemtl a\n" + "".join(f"f {face}\n" for face in faces)
    glb = ball.export(file_type="glb")
    length = int.from_bytes(glb[12:16], "little")
    document = json.loads(glb[20 : 20 + length])
    data = base64.b64encode(glb[28 + length :]).decode()
    document["buffers"][0]["uri"] = f"data:application/octet-stream;base64,{data}"
    return {
        "obj": [ball.export(file_type="obj").encode(), box.encode()],
        "off": [ball.export(file_type="off").encode()],
        "ply": [ball.export(file_type="ply", encoding=kind) for kind in ("binary", "ascii")],
        "stl": [ball.export(file_type="stl"), ball.export(file_type="stl_ascii").encode()],
        "glb": [glb],
        "gltf": [json.dumps(document).encode()],
    }


def _write_data(folder: Path) -> None:
    """Meshes, views and points of a test clip of two frames."""
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.8)
    meshes = [
        Mesh((ball.vertices * [0.3, 1, 0.2 + 0.1 * t]).astype(np.float32), ball.faces)
        for t in (0, 1)
    ]
    frames = [MeshFrame("test", "a", "run0/a", t, t, "male", mesh) for t, mesh in enumerate(meshes)]
    data = DataFolder(folder)
    terms = {"source": "test", "licence": "none", "citation": ""}
    write_meshes(data.meshes, [frames], {"provenance": terms})
    images, pool = Render(size=32, views=2), Sample(near_surface=60, uniform=20, grid=4)
    write_views(data.meshes, data.views, images, window=2.56, seed=0, backend="embree", jobs=1)
    write_points(data.meshes, data.points, pool, half=1.28, seed=0, jobs=1)


def _model(folder: Path) -> bytes:
    network = PIFu(NETWORK, 2.56).eval()
    save_model(folder, TrainedModel(network, NETWORK, 2.56, 32, level=0.5, data=DataRecord()))
    return (folder / "model.pt").read_bytes()


def _saved(state: dict[str, Any]) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def _clips(folder: Path) -> list[bytes]:
    rng = np.random.default_rng(0)
    clip = Clip(
        sequence="01_walk",
        number=1,
        gender="male",
        betas=np.zeros(10, np.float32),
        pose=rng.normal(size=(3, 72)),
        joints=rng.normal(size=(3, 24, 3)),
    )
    path = clip_path(folder, "train", "run0", "01_walk", 1)
    write_clip(path, clip, zrot=0.5, camera_distance=8.0)
    stored = scipy.io.loadmat(path)
    compressed = io.BytesIO()
    fields = {name: stored[name] for name in FIELDS}
    scipy.io.savemat(compressed, fields, do_compression=True)
    return [path.read_bytes(), compressed.getvalue()]


def _read_pictures(path: Path) -> None:
    clip = read_pictures([path], 32, 2.56, "camera")
    for number in range(len(clip.names)):
        clip.read(number)


def _read_mesh_file(path: Path) -> None:
    load_mesh(path)
    load_mesh(path, scale=0.01, centred=False, up="z")


def _read_meshes(path: Path) -> None:
    folder = path.parent
    for shards in open_folder(folder):
        describe(shards)
    reader = MeshReader(folder)
    for mesh in reader.read(range(len(reader.shards))):
        mesh.mesh.corners()
    for clip in reader.clips():
        clip.read()


def _read_views(path: Path) -> None:
    folder = path.parents[1]
    for shards in open_folder(folder):
        describe(shards)
        if shards.metadata["kind"] == "views":
            DataRecord.of(shards.metadata)
    clip = read_shards(folder, None, 0, 32, 2.56)
    for number in range(len(clip.names)):
        clip.read(number)
    _read_points(path)


def _read_points(path: Path) -> None:
    windows = Windows(DataFolder(path.parents[1]), "test", NETWORK)
    windows.require_points("evaluate.points", 20)
    for clip in range(len(windows.clips)):
        for view in range(windows.view_count(clip)):
            windows.clip_batch(clip, view, 20, 0)


def _read_model(path: Path) -> None:
    load_model(path, CPU)


def _read_net_g(path: Path) -> None:
    import_pifu(path, window=2.048, size=512)


def _read_smpl(path: Path) -> None:
    ModelFile(path).read()


def _read_body(path: Path) -> None:
    load_body.__wrapped__(path).rest(np.zeros(10, np.float32))


def _read_source(path: Path) -> None:
    read_source(path.parent)


def _read_take(path: Path) -> None:
    rest = embedded_body("male").rest(np.zeros(10, np.float32))[1]
    skeleton = read_skeleton(path.with_suffix(".asf"))
    retarget(skeleton, read_motion(path.with_suffix(".amc"), skeleton), rest)
