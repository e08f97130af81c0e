"""Decode one image file: to 8-bit RGB, with a remark for everything that was not simply used as stored.

Decoders are those of `FORMATS` alone, and neither a file nor its pixels may be larger than stated here, so a crafted
file can cost little. What a file holds decides how it is read, not how its name ends.
"""

import argparse
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from benchmark.data.arrays import DataError

FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx"),
    "AVIF": (".avif",),
}
"""Format -> how its files' names end."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_BYTES = 2**28
"""Bytes of an encoded image at most: 256 MiB."""
MAX_PIXELS = 2**26
"""Pixels of an image at most: 8192 × 8192."""
ORIENTATION = 0x0112  # EXIF's tag


@dataclass(frozen=True)
class Decoding:
    """How images are decoded where a file leaves a choice; the defaults are those of clean-fid and torch-fidelity.

    Attributes:
        orientation: `stored`, or `upright`, turned as EXIF says.
        transparency: the colours that are `stored` under it, or the image laid over `white` or `black`.
    """

    orientation: Literal["stored", "upright"] = "stored"
    transparency: Literal["stored", "white", "black"] = "stored"


AS_STORED = Decoding()


def add_decoding(arguments: argparse.ArgumentParser) -> None:
    """Add the options of `Decoding` to a command line."""
    add = arguments.add_argument
    add("--orientation", choices=("stored", "upright"), default="stored", help="turn images as their EXIF says, or not")
    ways = "colours under transparent pixels: those stored, or of an image laid over white or black"
    add("--transparency", choices=("stored", "white", "black"), default="stored", help=ways)


def decode(content: bytes, how: Decoding = AS_STORED) -> tuple[Image.Image, list[str]]:
    """Decode an image to 8-bit RGB; the first remark is its format.

    Raises:
        DataError: damaged, no image, of more than `MAX_PIXELS`, or with pixels whose range is not known.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"has more than {MAX_BYTES / 2**20:.0f} MiB")
    try:
        with Image.open(io.BytesIO(content), formats=list(FORMATS)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DataError(f"has {width}×{height} pixels, more than {MAX_PIXELS:,}")
            remarks = [str(image.format), *_stored(image)]
            image.load()
            return _rgb(_turned(image, how, remarks), how, remarks), remarks
    except DataError:
        raise
    except UnidentifiedImageError:
        raise DataError("damaged, or no image") from None
    except Exception as error:  # Pillow's formats raise many kinds
        raise DataError(f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from None


def _stored(image: Image.Image) -> list[str]:
    """What is to be said of the file before its pixels are looked at."""
    remarks = []
    if getattr(image, "n_frames", 1) > 1:
        remarks.append("several frames, of which the first is used")
    if image.info.get("icc_profile"):
        remarks.append("a colour profile, which is not applied")
    if any(";16" in str(tile[3]) for tile in getattr(image, "tile", [])) and not image.mode.startswith("I"):
        remarks.append("16 bits a channel, of which the upper 8 are used")
    return remarks


def _turned(image: Image.Image, how: Decoding, remarks: list[str]) -> Image.Image:
    if image.getexif().get(ORIENTATION, 1) in (0, 1):
        return image
    remarks.append(f"turned by EXIF, {'which is followed' if how.orientation == 'upright' else 'used as stored'}")
    return ImageOps.exif_transpose(image) if how.orientation == "upright" else image


def _rgb(image: Image.Image, how: Decoding, remarks: list[str]) -> Image.Image:
    if image.mode.startswith("I"):
        image = _eight_bits(image)
        remarks.append("16-bit grey, scaled to 8 bits")
    if image.mode == "F":
        raise DataError("has pixels of floating point, whose range is not known: give an array and its range")
    if image.mode == "CMYK":
        remarks.append("CMYK, converted without a colour profile")
    if image.has_transparency_data:
        return _opaque(image.convert("RGBA"), how, remarks)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16 bits to 8: white stays white. Pillow holds them in modes I;16, and those of PPM in I."""
    if image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise DataError("has pixels of 32 bits, whose range is not known: give an array and its range")
    return Image.fromarray(((np.asarray(image).astype(np.float64)) / 257).round().clip(0, 255).astype(np.uint8))


def _opaque(image: Image.Image, how: Decoding, remarks: list[str]) -> Image.Image:
    if image.getchannel("A").getextrema()[0] == 255:
        return image.convert("RGB")
    if how.transparency == "stored":
        remarks.append("transparent pixels, whose stored colours are used")
        return image.convert("RGB")
    remarks.append(f"transparent pixels, laid over {how.transparency}")
    return Image.alpha_composite(Image.new("RGBA", image.size, how.transparency), image).convert("RGB")
