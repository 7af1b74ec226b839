"""Peak memory of `tpifu reconstruct` for clips of several lengths; prints one JSON line.

python benchmarks/reconstruct_memory.py [FRAMES ...]     (default 200 800; four minutes)

Clips are PNG files of 512 px. The network is a stub that predicts a ball, with feature maps of
Table 1's size, so that reading, meshing and writing all files take most of the time. Each length
runs in its own process and writes the meshes, clip.glb and both movies.
"""

import json
import sys
import tempfile
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from memory import peak_mb
from PIL import Image
from torch import Tensor

from tpifu.config import DataRecord, Model
from tpifu.model.folder import TrainedModel
from tpifu.model.pifu import PIFu
from tpifu.pictures.movies import write_pictures
from tpifu.reconstruct.folder import Settings, reconstruct_clip
from tpifu.reconstruct.inputs import read_pictures

SIZE, WINDOW, GRID = 512, 2.56, 64


class Ball(PIFu):
    """A ball around the origin."""

    def filter(self, images: Tensor) -> list[Tensor]:
        return [torch.zeros(len(images), 256, SIZE // 4, SIZE // 4)]

    def query(self, features: Tensor, frames: Tensor, points: Tensor, calib: Tensor) -> Tensor:
        return 1 - points.norm(dim=-1)


def write_images(folder: Path, count: int) -> None:
    """Write images of a noisy person, which PNG compresses no better than a photograph."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    for number in range(count):
        pixels = np.zeros((SIZE, SIZE, 4), np.uint8)
        pixels[80:430, 215:300, :3] = rng.integers(150, 220, (350, 85, 1))
        pixels[80:430, 215:300, 3] = 255
        Image.fromarray(pixels).save(folder / f"{number:04d}.png", compress_level=1)


def peak_of(count: int) -> float:
    """Megabytes of this process after the reconstruction of `count` frames."""
    config = Model()
    network = Ball(config, WINDOW).eval()
    model = TrainedModel(network, config, WINDOW, SIZE, level=0.5, data=DataRecord())
    with tempfile.TemporaryDirectory() as folder:
        images, out = Path(folder) / "images", Path(folder) / "out"
        write_images(images, count)
        clip = read_pictures([images], SIZE, WINDOW, "camera")
        paths, _ = reconstruct_clip(model, clip, out, Settings(resolution=GRID))
        write_pictures(clip, paths, out, WINDOW, fps=6.0)
    return peak_mb()


def main() -> None:
    counts = [int(count) for count in sys.argv[1:]] or [200, 800]
    with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        peaks = pool.map(peak_of, counts, chunksize=1)
    print(json.dumps({f"peak_mb_{n}": round(peak) for n, peak in zip(counts, peaks, strict=True)}))


if __name__ == "__main__":
    main()
