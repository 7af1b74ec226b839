"""A data folder: meshes, the views rendered from them and the points sampled around them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class DataFolder:
    """The paths of the three shard folders. Nothing is opened or checked."""

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
