"""Decoding against the pixels that were written, whatever the file's format, depth and mode."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from benchmark.data import decoding
from benchmark.data.arrays import DataError
from benchmark.data.decoding import Decoding, decode

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
GREY = PIXELS[..., 0]


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(rows, depth, colour):
    """A PNG file put together by hand from rows of bytes: Pillow writes none of 16 bits a channel."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = rows.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000"])
def test_formats_without_loss_give_the_pixels_that_were_written(kind):
    if kind == "JPEG2000" and not features.check("jpg_2000"):
        pytest.skip("Pillow was built without it")
    image, remarks = decode(encoded(Image.fromarray(PIXELS), kind, **({"lossless": True} if kind == "WEBP" else {})))
    np.testing.assert_array_equal(image, PIXELS)
    assert remarks == [kind]


def test_what_a_file_holds_counts_not_its_name():
    assert decode(encoded(Image.fromarray(PIXELS), "JPEG"))[1] == ["JPEG"]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_grey_of_16_bits_is_scaled_and_not_cut_off(kind):
    """v·257 is what 8 bits v become in 16: white stays white, and every level is met again."""
    image, remarks = decode(encoded(Image.fromarray(GREY.astype(np.uint16) * 257), kind))
    np.testing.assert_array_equal(np.asarray(image), np.repeat(GREY[..., None], 3, 2))
    assert remarks == [kind, "16-bit grey, scaled to 8 bits"]


def test_colours_of_16_bits_keep_their_upper_8():
    image, remarks = decode(png((PIXELS.astype(np.uint16) * 257).byteswap(), 16, 2))
    np.testing.assert_array_equal(image, PIXELS)
    assert remarks == ["PNG", "16 bits a channel, of which the upper 8 are used"]


@pytest.mark.parametrize(("image", "said"), [("F", "floating point"), ("I", "32 bits")])
def test_pixels_of_unknown_range_are_refused(image, said):
    with pytest.raises(DataError, match=said):
        decode(encoded(Image.fromarray(GREY).convert(image), "TIFF"))


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA"])
def test_other_modes_become_rgb_as_pillow_makes_them(mode):
    source = Image.fromarray(PIXELS).convert(mode)
    image, remarks = decode(encoded(source, "TIFF"))
    np.testing.assert_array_equal(image, source.convert("RGB"))
    assert remarks == ["TIFF", *(["CMYK, converted without a colour profile"] if mode == "CMYK" else [])]


def test_colours_under_transparency_are_as_stored_unless_asked_otherwise():
    alpha = np.zeros(GREY.shape, np.uint8)
    alpha[0] = 255
    alpha[1] = 51  # a fifth
    file = encoded(Image.fromarray(np.dstack([PIXELS, alpha])))
    image, remarks = decode(file)
    np.testing.assert_array_equal(image, PIXELS)
    assert remarks[1] == "transparent pixels, whose stored colours are used"
    for colour, value in (("white", 255), ("black", 0)):
        found, remarks = decode(file, Decoding(transparency=colour))
        opacity = alpha[..., None] / 255
        expected = PIXELS * opacity + value * (1 - opacity)
        assert np.abs(np.asarray(found, float) - expected).max() <= 1
        assert remarks[1] == f"transparent pixels, laid over {colour}"


def test_a_transparent_palette_is_seen():
    image = Image.fromarray(GREY).convert("P")
    image.info["transparency"] = int(np.asarray(image)[0, 0])
    assert "transparent pixels, whose stored colours are used" in decode(encoded(image, "GIF"))[1]


def test_exif_turns_an_image_only_where_asked():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    file = encoded(Image.fromarray(PIXELS), exif=exif)
    image, remarks = decode(file)
    np.testing.assert_array_equal(image, PIXELS)
    assert remarks[1] == "turned by EXIF, used as stored"
    upright, remarks = decode(file, Decoding(orientation="upright"))
    np.testing.assert_array_equal(upright, np.rot90(PIXELS, -1))
    assert remarks[1] == "turned by EXIF, which is followed"


def test_frames_and_colour_profiles_are_remarked():
    first, second = Image.fromarray(PIXELS), Image.fromarray(255 - PIXELS)
    image, remarks = decode(encoded(first, "TIFF", save_all=True, append_images=[second]))
    np.testing.assert_array_equal(image, PIXELS)
    assert remarks[1] == "several frames, of which the first is used"
    assert decode(encoded(first, icc_profile=b"profile"))[1][1] == "a colour profile, which is not applied"


def test_damage_and_crafted_sizes_are_refused(monkeypatch):
    whole = encoded(Image.fromarray(PIXELS))
    for content, said in ((b"", "no image"), (b"x" * 99, "no image"), (whole[:-30], "cannot be read")):
        with pytest.raises(DataError, match=said):
            decode(content)
    huge = png(np.zeros((1, 1, 3), np.uint8), 8, 2)
    head = struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    huge = huge[:16] + head + struct.pack(">I", zlib.crc32(b"IHDR" + head)) + huge[33:]
    with pytest.raises(DataError, match="9000×9000 pixels, more than"):
        decode(huge)
    monkeypatch.setattr(decoding, "MAX_BYTES", len(whole) - 1)
    with pytest.raises(DataError, match="has more than"):
        decode(whole)
