"""Fusion "attention": one weighted mean of the features of a window's frames at each point."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class FrameAttention(nn.Module):
    """At each point, the centre frame's features attend to those of all frames."""

    def __init__(self, dim: int, frames: int) -> None:
        super().__init__()
        self.dim, self.frames = dim, frames
        self.place = nn.Parameter(torch.zeros(frames, dim))
        """Added to the features of each frame, because a mean does not depend on their order."""
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(self, features: Float[Tensor, "b n kd"]) -> Float[Tensor, "b n d"]:
        """The features of k frames, oldest first -> those of the centre frame plus the weighted
        mean of all frames' values."""
        by_frame = features.unflatten(-1, (self.frames, self.dim))
        centre = by_frame[..., self.frames // 2, :]
        placed = by_frame + self.place.to(features.dtype)
        scores = (self.query(centre)[..., None, :] * self.key(placed)).sum(-1)
        weights = (scores / self.dim**0.5).softmax(dim=-1)
        return centre + (weights[..., None] * self.value(placed)).sum(-2)
