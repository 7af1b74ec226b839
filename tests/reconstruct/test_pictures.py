"""What `tpifu reconstruct` reads, rejects and warns of; docs/data.md has the table.

Named in reports: EXIF orientation in PNG. Further members of this kind:

- orientation in XMP, after the pixels of a PNG, in WebP and TIFF, in every frame of an animation;
- pixels: 16 bits, palettes, transparent colours, premultiplied TIFF, CMYK, interlacing;
- colours: ICC profiles of RGB and grey, PNG gamma, PNG colour codes (cICP);
- shape: pixels that are not square, the default image of an APNG, another size;
- animations: frames shown for different times, which GIF and WebP make of equal frames;
"""

import struct
import warnings
import zlib

import numpy as np
import pytest
from helpers.pictures import person
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from tpifu.errors import DataError
from tpifu.reconstruct.inputs import read_pictures

ORIENTATION = 0x0112
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def read(*paths, size=32, light="camera"):
    return read_pictures(paths, size, 2.56, light)


def pixels_of(path) -> np.ndarray:
    """The only frame of a picture."""
    clip = read(path)
    assert len(clip.names) == 1
    return clip.read(0)


def rotated() -> tuple[Image.Image, Image.Exif]:
    """A person stored on the side, and the EXIF data that turn it upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    return Image.fromarray(np.rot90(person()).copy()), exif


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path, pixels: np.ndarray, depth: int, kind: int, *, before=b"", after=b"") -> None:
    """A PNG of big-endian rows; `before` and `after` are chunks around the pixels."""
    height, width = pixels.shape[:2]
    header = chunk(b"IHDR", struct.pack(">2I5B", width, height, depth, kind, 0, 0, 0))
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    body = before + chunk(b"IDAT", zlib.compress(rows)) + after
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b""))


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff"])
def test_exif_orientation_is_applied(tmp_path, suffix):
    image, exif = rotated()
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    image.save(tmp_path / f"a.{suffix}", exif=exif, **options)
    np.testing.assert_array_equal(pixels_of(tmp_path / f"a.{suffix}"), person())


def test_orientation_in_xmp_is_applied(tmp_path):
    image, _ = rotated()
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    image.save(tmp_path / "a.png", pnginfo=info)
    image.save(tmp_path / "a.webp", xmp=XMP, lossless=True, exact=True)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(pixels_of(path), person())


def test_orientation_after_the_pixels_of_a_png_is_applied(tmp_path):
    image, exif = rotated()
    late = chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    png(tmp_path / "a.png", np.array(image), 8, 6, after=late)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), person())


def test_an_animation_that_claims_more_frames_than_it_holds_is_rejected(tmp_path):
    claim = chunk(b"acTL", struct.pack(">2I", 2**29, 0))
    png(tmp_path / "a.png", person(), 8, 6, before=claim)
    with pytest.raises(DataError, match=r"a.png: not a PNG, .* \(536870912 frames in \d+ bytes\)"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_orientation_applies_to_every_frame(tmp_path, suffix):
    exif = rotated()[1]
    frames = [Image.fromarray(np.rot90(person(grey)).copy()) for grey in (180, 190, 200)]
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:], exif=exif, **options)
    clip = read(path)
    for frame, grey in enumerate((180, 190, 200)):
        np.testing.assert_array_equal(clip.read(frame)[8], person(grey)[8])


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    deep = (person().astype(int) * 256 + 99).astype(">u2")
    png(tmp_path / "rgba.png", deep, 16, 6)
    png(tmp_path / "grey.png", deep[..., [0, 3]], 16, 4)
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(pixels_of(path), person())


def test_sixteen_bit_grey_with_a_transparent_value_is_rejected(tmp_path):
    grey = person()[..., 0].astype(">u2") * 256
    png(tmp_path / "a.png", grey, 16, 0, before=chunk(b"tRNS", b"\0\0"))
    with pytest.raises(DataError, match=r"has no alpha channel \(Pillow's mode I;16\)"):
        read(tmp_path / "a.png")


def test_palettes_and_transparent_colours_are_masks(tmp_path):
    hard = person()
    hard[..., 3] = np.where(hard[..., 3] > 0, 255, 0)
    used, index = np.unique(hard.reshape(-1, 4), axis=0, return_inverse=True)
    palette = chunk(b"PLTE", used[:, :3].tobytes()) + chunk(b"tRNS", used[:, 3].tobytes())
    png(tmp_path / "palette.png", index.reshape(32, 32).astype(np.uint8), 8, 3, before=palette)
    png(tmp_path / "key.png", hard[..., :3], 8, 2, before=chunk(b"tRNS", bytes(6)))
    Image.fromarray(hard).save(tmp_path / "a.gif")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(pixels_of(path)[hard[..., 3] > 0], hard[hard[..., 3] > 0])
        np.testing.assert_array_equal(pixels_of(path)[..., 3], hard[..., 3])


def test_premultiplied_tiff_is_divided_by_its_alpha(tmp_path):
    straight = person(200)
    premultiplied = straight.copy()
    premultiplied[..., :3] = straight[..., :3].astype(int) * straight[..., 3:] // 255
    Image.fromarray(premultiplied).save(tmp_path / "a.tiff")
    data = (tmp_path / "a.tiff").read_bytes()
    entry = struct.pack("<2HIH", 338, 3, 1, 2)  # ExtraSamples: 2 is straight, 1 premultiplied
    assert data.count(entry) == 1
    (tmp_path / "a.tiff").write_bytes(data.replace(entry, struct.pack("<2HIH", 338, 3, 1, 1)))
    np.testing.assert_allclose(pixels_of(tmp_path / "a.tiff").astype(int), straight, atol=1)


def test_interlaced_png_is_read(tmp_path):
    # Adam7: (first row, first column, row step, column step) of the seven passes
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    parts = [person()[row::down, column::right] for row, column, down, right in passes]
    rows = [b"\0" + row.tobytes() for part in [*parts, person()[1::2]] for row in part]
    header = chunk(b"IHDR", struct.pack(">2I5B", 32, 32, 8, 6, 0, 0, 1))
    data = header + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), person())


def linear_profile(space: bytes) -> bytes:
    """An ICC profile with gamma 1: Pillow's sRGB with other curves, or a grey one."""
    curve = b"curv" + struct.pack(">3I", 0, 0, 0)
    white = b"XYZ " + struct.pack(">I3i", 0, 63190, 65536, 54061)
    tags = [(b"wtpt", white), (b"kTRC", curve)]
    if space == b"RGB ":
        columns = {b"rXYZ": (28569, 14579, 912), b"gXYZ": (25240, 46990, 6363)}
        columns[b"bXYZ"] = (9380, 3969, 46795)
        tags = [(b"wtpt", white)]
        tags += [(key, b"XYZ " + struct.pack(">I3i", 0, *value)) for key, value in columns.items()]
        tags += [(key, curve + bytes(0)) for key in (b"rTRC", b"gTRC", b"bTRC")]
    place, table, content = 128 + 4 + 12 * len(tags), b"", b""
    for key, value in tags:
        table += key + struct.pack(">2I", place + len(content), len(value))
        content += value
    size = place + len(content)
    header = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + content


def in_srgb(linear: np.ndarray) -> np.ndarray:
    """IEC 61966-2-1."""
    share = linear / 255
    return 255 * np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize(("mode", "space"), [("RGBA", b"RGB "), ("LA", b"GRAY")])
def test_colour_profiles_are_converted_to_srgb(tmp_path, mode, space):
    linear = person(110)
    image = Image.fromarray(linear).convert(mode)
    image.save(tmp_path / "a.png", icc_profile=linear_profile(space))
    found = pixels_of(tmp_path / "a.png").astype(int)
    np.testing.assert_array_equal(found[..., 3], linear[..., 3])
    np.testing.assert_allclose(found[..., :3], in_srgb(linear[..., :3]), atol=1.5)


def test_an_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(person()).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(pixels_of(tmp_path / "a.png"), person())


@pytest.mark.parametrize("profile", [b"no profile", linear_profile(b"CMYK")])
def test_a_useless_colour_profile_is_rejected(tmp_path, profile):
    Image.fromarray(person()).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.raises(DataError, match=r"a.png: its colour profile .*; remove it"):
        read(tmp_path / "a.png")


def test_png_gamma_is_converted(tmp_path):
    linear = person(110)
    gamma = chunk(b"gAMA", struct.pack(">I", 100000))
    png(tmp_path / "a.png", linear, 8, 6, before=gamma)
    expected = 255 * (linear[..., :3] / 255) ** (1 / 2.2)
    np.testing.assert_allclose(pixels_of(tmp_path / "a.png")[..., :3], expected, atol=0.5)
    # The chunk sRGB overrides gAMA, and 1/2.2 is what sRGB images store.
    for name, before in (
        ("b.png", gamma + chunk(b"sRGB", b"\0")),
        ("c.png", chunk(b"gAMA", struct.pack(">I", 45455))),
    ):
        png(tmp_path / name, person(), 8, 6, before=before)
        np.testing.assert_array_equal(pixels_of(tmp_path / name), person())


def test_colour_codes_other_than_srgb_are_rejected(tmp_path):
    wide = bytes([12, 13, 0, 1])  # Display P3
    for name, code in (("srgb.png", bytes([1, 13, 0, 1])), ("wide.png", wide)):
        png(tmp_path / name, person(), 8, 6, before=chunk(b"cICP", code))
    np.testing.assert_array_equal(pixels_of(tmp_path / "srgb.png"), person())
    with pytest.raises(DataError, match=r"wide.png: its colours have the code 12-13-0-1 \(cICP\)"):
        read(tmp_path / "wide.png")


@pytest.mark.parametrize("unit", [0, 1])
def test_pixels_that_are_not_square_are_rejected(tmp_path, unit):
    shape = chunk(b"pHYs", struct.pack(">2IB", 2835, 1417, unit))
    png(tmp_path / "a.png", person(), 8, 6, before=shape)
    with pytest.raises(DataError, match=r"a.png: its pixels are not square .*resample"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("mode", "suffix"), [("RGB", "jpg"), ("CMYK", "jpg"), ("CMYK", "tiff"), ("L", "png")]
)
def test_pictures_without_alpha_channel_are_rejected(tmp_path, mode, suffix):
    Image.fromarray(person()).convert("RGB").convert(mode).save(tmp_path / f"a.{suffix}")
    with pytest.raises(DataError, match=rf"has no alpha channel \(Pillow's mode {mode}\); store"):
        read(tmp_path)


def test_other_formats_and_sizes_are_rejected(tmp_path):
    Image.fromarray(person()).save(tmp_path / "a.tga")
    with pytest.raises(DataError, match="not a PNG, WebP, GIF or TIFF image"):
        read(tmp_path / "a.tga")
    Image.fromarray(person()[:24]).save(tmp_path / "b.png")
    with pytest.raises(DataError, match="is 32 x 24 pixels, but the model reads 32 x 32; crop"):
        read(tmp_path / "b.png")
    header = chunk(b"IHDR", struct.pack(">2I5B", 30000, 30000, 8, 6, 0, 0, 0))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""))
    with pytest.raises(DataError, match=r"huge.png: .*exceeds limit"):
        read(tmp_path / "huge.png")


def animate(path, greys, **options) -> None:
    frames = [Image.fromarray(person(grey)) for grey in greys]
    frames[0].save(path, save_all=True, append_images=frames[1:], disposal=2, **options)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_an_animation_is_a_clip(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    animate(tmp_path / f"a.{suffix}", (180, 190, 200), duration=100, **options)
    clip = read(tmp_path / f"a.{suffix}")
    assert list(clip.names) == ["frame_0000", "frame_0001", "frame_0002"]
    assert not clip.warnings
    for frame in (0, 1, 2, 1):
        np.testing.assert_array_equal(
            clip.read(frame)[8, 14:18], person(180 + 10 * frame)[8, 14:18]
        )
    with pytest.raises(DataError, match=r"is an animation of 3 .* pass it alone"):
        read(tmp_path / f"a.{suffix}", tmp_path / f"a.{suffix}")


def test_the_default_image_of_an_apng_is_no_frame(tmp_path):
    animate(tmp_path / "a.png", (100, 190, 200), duration=100, default_image=True)
    clip = read(tmp_path / "a.png")
    assert [clip.read(frame)[8, 15, 0] for frame in range(len(clip.names))] == [190, 200]


@pytest.mark.parametrize("suffix", ["png", "gif", "webp"])
def test_frames_shown_for_different_times_are_a_warning(tmp_path, suffix):
    # Writers of animations merge two equal frames into one that is shown twice as long.
    animate(tmp_path / f"a.{suffix}", (180, 190, 200), duration=[100, 200, 100])
    (warning,) = read(tmp_path / f"a.{suffix}").warnings
    assert f"a.{suffix}: shows frames for 100 to 200 ms; models expect frames at equal" in warning


def test_a_folder_is_its_pictures_in_natural_order(tmp_path):
    order = ["frame2.png", "frame10.png", "Frame11.webp", "frame12.png"]
    for grey, name in sorted(enumerate(order, 180), key=lambda item: item[1]):
        Image.fromarray(person(grey)).save(tmp_path / name, lossless=True)
    # Thumbnails from file managers, and files that are not images.
    (tmp_path / "._frame2.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("no picture")
    clip = read(tmp_path)
    assert list(clip.names) == ["frame2", "frame10", "Frame11", "frame12"]
    assert [clip.read(frame)[8, 15, 0] for frame in range(4)] == [180, 181, 182, 183]
    (warning,) = clip.warnings
    assert "frame10.png: follows frame2.png; frames are missing between them" in warning
    with pytest.raises(DataError, match=r"comes before frame2.png, as the shell sorts them"):
        read(*(tmp_path / name for name in sorted(order)))


def test_unreadable_inputs_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(DataError, match=r"holds neither pictures \(.png, .* nor views"):
        read(tmp_path)
    Image.fromarray(person()).save(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:120])
    (tmp_path / "walk.mp4").write_bytes(b"....ftyp")
    for path, reason in (
        (tmp_path / "nowhere", "No such file"),
        (tmp_path / "cut.png", "truncated"),
        (tmp_path / "walk.mp4", "cannot identify image file .* frames of a video as PNG"),
    ):
        with pytest.raises(DataError, match=rf"^{path}: not a PNG, .*{reason}") as caught:
            read(tmp_path / "a.png", path)
        assert "\n" not in str(caught.value)


def test_files_are_closed(tmp_path):
    Image.fromarray(person()).save(tmp_path / "a.png")
    animate(tmp_path / "b.png", (180, 190), duration=100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("a.png", "b.png"):
            read(tmp_path / name).read(0)
    assert not caught
