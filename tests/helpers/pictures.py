"""Pictures of a person."""

import numpy as np


def person(grey=190, size=32) -> np.ndarray:
    """RGBA pixels of a person 1.76 m tall, darker at the feet, with a soft edge."""
    pixels = np.zeros((size, size, 4), np.uint8)
    pixels[5:27, 14:18] = (grey, grey, grey, 255)
    pixels[22:27, 14:18, :3] //= 2
    pixels[5:27, 18] = (grey, grey, grey, 128)
    return pixels
