"""Warnings about pictures unlike the training images.

Reported cases: masks of 0 and 1, inverted masks, dark pictures, small persons. Related cases:
persons who are cut off, too large, off centre, overexposed or coloured.
"""

import re

import numpy as np
import pytest
from helpers.pictures import person
from PIL import Image

from tpifu.geometry.camera import calibration
from tpifu.reconstruct.inputs import read_pictures
from tpifu.reconstruct.training_range import range_warning
from tpifu.render.light import image_light
from tpifu.render.render import render, shade


def masked(mask: np.ndarray, grey=190) -> np.ndarray:
    pixels = np.full((*mask.shape, 4), grey)
    pixels[..., 3] = mask
    return pixels


def box(rows, columns) -> np.ndarray:
    mask = np.zeros((32, 32))
    mask[rows, columns] = 255
    return mask


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (masked(person()[..., 3] // 255), "its alpha channel never exceeds 1; 255 marks the"),
        (masked(255 - person()[..., 3]), "its mask covers 100% of the border; is the mask inv"),
        (masked(box(slice(16, 32), slice(8, 24))), "covers 13% of the border; .* cut off"),
        (masked(box(slice(14, 18), slice(15, 17))), "covers 0.051 m2 .* not 0.12 to 0.9"),
        (masked(box(slice(1, 31), slice(1, 31))), "covers 5.8 m2 of the 2.56 m wide picture"),
        (np.roll(person(), 8, axis=1), "the person is 0.6. m off the centre, more than 0.45"),
        (person(57), r"mean brightness is 0.20, not 0.4 to 0.87"),
        (masked(person()[..., 3], 255), r"mean brightness is 1.00, not 0.4 to 0.87"),
        (person() * [1, 1, 0.3, 1], "the person is coloured"),
    ],
    ids=[
        "0-and-1",
        "inverted",
        "cut",
        "small",
        "large",
        "aside",
        "dark",
        "overexposed",
        "coloured",
    ],
)
def test_pictures_unlike_the_training_images_give_one_warning(tmp_path, pixels, words):
    for number, image in enumerate((person(), pixels, pixels), 1):
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / f"{number}.png")
    (warning,) = read_pictures([tmp_path], 32, 2.56, "camera").warnings
    assert warning.startswith(f"{tmp_path}/2.png: ")
    assert "; 1 more frames have such warnings; the mesh may be wrong (README: " in warning
    assert "\n" not in warning
    assert re.search(words, warning)


def test_a_usual_picture_gives_no_warning():
    assert range_warning(person(), 2.56, "camera") is None


def test_brightness_depends_on_the_light_of_the_training_images():
    assert "brightness is 0.36" in (range_warning(person(100), 2.56, "camera") or "")
    assert range_warning(person(100), 2.56, "environment") is None


@pytest.mark.parametrize("light", ["camera", "fixed", "environment"])
def test_images_of_the_pipeline_give_no_warning(walking, squatting, light):
    calibs = np.stack([calibration(yaw, 2.56) for yaw in (0.0, 90.0, 180.0, 270.0)])
    lights = [image_light(light, 0, "clip", 0, view) for view in range(4)]
    for body in (walking, squatting):
        for view in render(body, calibs, 64, "embree", shade(body, calibs, lights)):
            assert range_warning(view[..., [0, 0, 0, 1]], 2.56, light) is None
