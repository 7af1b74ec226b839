"""A folder of data: meshes, the views rendered from them and the points sampled in them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """Names the three shard folders that always travel together. Nothing is opened or checked."""

    path: Path

    @property
    def meshes(self) -> Path:
        return self.path / "meshes"

    @property
    def views(self) -> Path:
        return self.path / "views"

    @property
    def points(self) -> Path:
        return self.path / "points"
