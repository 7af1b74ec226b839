"""Warnings about pictures outside the range of the training images; their meshes may be wrong.

The limits were measured on 4 views of 410 bodies from all procedural motions, plus a margin.
"""

import numpy as np
from jaxtyping import UInt8

from tpifu.config import LightKind

BORDER = 0.02
"""Largest share of the border that the person covers; 0.008 in the views."""
AREA = (0.12, 0.9)
"""Silhouette in square metres; 0.15 to 0.62 in the views."""
OFFSET = 0.45
"""Largest distance, right or up, of the silhouette's centroid from the centre of the picture in
metres; 0.38 in the views, which have the pelvis at the centre."""
BRIGHTNESS: dict[LightKind, tuple[float, float]] = {
    "camera": (0.4, 0.87),  # 0.43 to 0.82
    "fixed": (0.4, 0.87),  # 0.59 to 0.82 without occlusion
    "environment": (0.32, 0.95),  # 0.35 to 0.92
    "environment_clip": (0.32, 0.95),
    "uniform": (0.7, 1.0),  # 0.79 to 0.96 with occlusion, 1 without
}
"""Mean brightness of the person, 0 to 1; the views include renders with and without occlusion."""
COLOUR = 0.15
"""Mean difference between the largest and the smallest of r, g and b; 0 in the views."""


def range_warning(
    pixels: UInt8[np.ndarray, "h w 4"], window: float, light: LightKind | None
) -> str | None:
    """The first property of a picture that no training image has; None if there is none.

    `window`: width of the picture, metres. `light`: light of the training images; None if their
    people wear clothes of any colour and brightness.
    """
    mask = pixels[..., 3] > 127
    if not mask.any():
        return f"its alpha channel never exceeds {pixels[..., 3].max()}; 255 marks the person"
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]]).mean()
    if border > BORDER:
        return (
            f"its mask covers {border:.0%} of the border; is the mask inverted or the person cut "
            "off?"
        )
    if not AREA[0] <= (area := mask.mean() * window**2) <= AREA[1]:
        return (
            f"the person covers {area:.2g} m2 of the {window:g} m wide picture, not "
            f"{AREA[0]:g} to {AREA[1]:g}"
        )
    offset = (np.argwhere(mask).mean(axis=0) + 0.5) / len(mask) * window - window / 2
    if (farthest := np.abs(offset).max()) > OFFSET:
        return f"the person is {farthest:.2g} m off the centre, more than {OFFSET:g}"
    if light is None:
        return None
    colours = pixels[mask][:, :3] / 255
    darkest, brightest = BRIGHTNESS[light]
    if not darkest <= (mean := colours.mean()) <= brightest:
        return f"the person's mean brightness is {mean:.2f}, not {darkest:g} to {brightest:g}"
    if np.ptp(colours, axis=1).mean() > COLOUR:
        return "the person is coloured, but the training images are grey"
    return None
