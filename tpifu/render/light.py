"""Light on a white, diffuse body: a headlight at the camera, or an environment.

An environment is white radiance over the sphere of directions, in nine coefficients of the real
spherical harmonics up to second order, in the order of Ramamoorthi and Hanrahan ("An Efficient
Representation for Irradiance Environment Maps", 2001): L00, L1-1, L10, L11, L2-2, L2-1, L20, L21,
L22. Directions and normals are unit vectors in view space: x right, y up, z towards the viewer. A
light is therefore fixed relative to the camera, as in PIFu's render script.

Environments are scaled so that the brightest normal facing the camera has grey 1; occlusion does
not change this exposure. Greys are linear in irradiance; PIFu's script also applies a gamma of 2.2.
"""

import math

import numpy as np
from jaxtyping import Float, Float64

from tpifu.config import LightKind
from tpifu.shards.schema import item_seed

Environment = Float64[np.ndarray, "9"]

AMBIENT = 0.2
"""Grey of a surface seen edge-on under the headlight; it keeps silhouettes visible on black."""

_COSINE = np.repeat([math.pi, 2 * math.pi / 3, math.pi / 4], [1, 3, 5])
"""Irradiance / radiance for each coefficient: the harmonics of the clamped cosine."""


def harmonics(directions: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 9"]:
    """The nine real spherical harmonics in each direction."""
    x, y, z = directions.astype(np.float64).T
    return np.stack(
        [
            np.full_like(x, 0.282095),
            0.488603 * y,
            0.488603 * z,
            0.488603 * x,
            1.092548 * x * y,
            1.092548 * y * z,
            0.315392 * (3 * z * z - 1),
            1.092548 * x * z,
            0.546274 * (x * x - y * y),
        ],
        axis=1,
    )


def irradiance(light: Environment, normals: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, " n"]:
    """Irradiance for each normal: the integral of radiance times cosine over its hemisphere."""
    return harmonics(normals) @ (_COSINE * light)


def surface_grey(
    light: Environment | None, normals: Float64[np.ndarray, "n 3"]
) -> Float64[np.ndarray, " n"]:
    """Grey, 0..1, of an unoccluded white surface for each normal; None is the headlight."""
    if light is None:
        return AMBIENT + (1 - AMBIENT) * np.maximum(0, normals[:, 2])
    return np.clip(irradiance(light, normals) / math.pi, 0, 1)


def draw_environment(rng: np.random.Generator) -> Environment:
    """A random white environment with the statistics of the 240 lights of PIFu's render script.

    Their median ratio of the linear to the constant band is .43; the mean |x|, |y|, |z| of the
    linear band's direction is .47, .37, .65. 97 % come from the viewer's side and 64 % from above.
    75 % come from the right; here left and right are equally likely, because training mirrors
    images. The quadratic band is a lobe along the direction, with a median of .8 times the linear
    band, plus small noise.
    """
    direction = rng.normal((0.0, 0.21, 0.89), (0.84, 0.58, 0.5))
    linear = 0.43 * math.exp(rng.normal(0, 0.25))
    quadratic = linear * rng.uniform(0.3, 1.3)
    return _lobe(direction, linear, quadratic, rest=rng.normal(0, 0.05, 5))


def image_light(kind: LightKind, seed: int, clip: str, frame: int, view: int) -> Environment | None:
    """The light of one stored image, a function of the arguments only; None is the headlight."""
    if kind == "camera":
        return None
    if kind in CONSTANT:
        return CONSTANT[kind]
    moment = frame if kind == "environment" else 0
    # view + 1, because NumPy pads seeds with zeros: view 0 would share the points' random numbers.
    return draw_environment(np.random.default_rng([*item_seed(seed, clip, moment), view + 1]))


def _lobe(
    direction: Float[np.ndarray, "3"], linear: float, quadratic: float, rest: Float[np.ndarray, "5"]
) -> Environment:
    """An environment symmetric about `direction`, apart from `rest`, which is added to the
    quadratic band. `linear` and `quadratic` are the norms of these bands relative to the constant
    band."""
    along = harmonics((direction / np.linalg.norm(direction))[None])[0]
    bands = [
        np.ones(1),
        linear * along[1:4] / np.linalg.norm(along[1:4]),
        quadratic * along[4:] / np.linalg.norm(along[4:]) + rest,
    ]
    light = np.concatenate(bands)
    return light * math.pi / irradiance(light, _FACING).max()


def hemisphere(count: int) -> Float64[np.ndarray, "{count} 3"]:
    """Directions distributed evenly over the hemisphere around +z (a Fibonacci lattice)."""
    z = (np.arange(count) + 0.5) / count
    turn = np.arange(count) * math.pi * (3 - math.sqrt(5))
    across = np.sqrt(1 - z * z)
    return np.stack([across * np.cos(turn), across * np.sin(turn), z], axis=1)


_FACING = hemisphere(500)
_UPPER_LEFT = np.array([-0.47, 0.37, 0.65])
CONSTANT: dict[LightKind, Environment] = {
    "fixed": _lobe(_UPPER_LEFT, linear=0.43, quadratic=0.34, rest=np.zeros(5)),
    "uniform": _lobe(_UPPER_LEFT, linear=0.0, quadratic=0.0, rest=np.zeros(5)),
}
"""Environments that are the same in all images: the median environment, from the upper left, and
radiance that is equal in all directions."""
