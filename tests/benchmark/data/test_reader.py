"""Folders, archives and arrays of images: the pixels that were written, in natural order; bad input in one line."""

import io
import os
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from benchmark.data.arrays import DataError
from benchmark.data.decoding import Decoding
from benchmark.data.reader import from_array, read_images
from benchmark.data.sources import choose, natural, open_source

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 14, 3), dtype=np.uint8)


def pixels(images, batch=5):
    batches = list(images.batches(batch))
    assert all(part.dtype == torch.uint8 and part.shape[1] == 3 for part in batches)
    return torch.cat(batches).permute(0, 2, 3, 1).numpy()


def read(path, **options):
    return pixels(read_images(path, **options))


@pytest.fixture
def folder(tmp_path):
    """Twelve images, named without leading zeros: sample_10 is the eleventh, not the third."""
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for i, image in enumerate(PIXELS):
        Image.fromarray(image).save(tmp_path / "images" / "deep" / f"sample_{i}.png")
    return tmp_path / "images"


def archive(folder, path):
    if path.suffix.lower() == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for image in folder.rglob("*.png"):
                file.write(image, image.relative_to(folder))
        return path
    kind = {".tar": "w", ".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}[path.suffix]
    with tarfile.open(path, kind) as file:
        file.add(folder, ".")
    return path


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz", ""])
def test_folders_and_archives_give_the_images_in_natural_order(folder, tmp_path, name):
    path = archive(folder, tmp_path / name) if name else folder
    found = read_images(path)
    np.testing.assert_array_equal(pixels(found), PIXELS)
    assert found.names[:11:5] == ("deep/sample_0.png", "deep/sample_5.png", "deep/sample_10.png")
    np.testing.assert_array_equal(read(path, limit=4), PIXELS[:4])
    assert "the first 4 of 12 images" in read_images(path, limit=4).notes


def test_lmdb(folder, tmp_path):
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(tmp_path / "lmdb"), map_size=2**24) as environment, environment.begin(write=True) as write:
        for i in range(12):
            write.put(b"%04d" % i, (folder / "deep" / f"sample_{i}.png").read_bytes())
    np.testing.assert_array_equal(read(tmp_path / "lmdb"), PIXELS)


def test_natural_order():
    assert sorted(["a10", "a2", "a1b10", "a1b9", "a02", "b", "10", "9"], key=natural) == [
        *("9", "10", "a1b9", "a1b10", "a02", "a2", "a10", "b"),
    ]


def test_hidden_files_and_what_archivers_add_are_no_images():
    names = [
        "x.png",
        ".ipynb_checkpoints/x.png",
        "a/.thumbnails/y.png",
        "__MACOSX/._x.png",
        "@eaDir/x.png/y.jpg",
        "._z.png",
    ]
    assert choose(names) == (["x.png"], ["5 hidden files left out"])


def test_an_archive_of_a_mac_is_read(folder, tmp_path):
    with zipfile.ZipFile(archive(folder, tmp_path / "mac.zip"), "a") as file:
        for image in folder.rglob("*.png"):
            file.writestr(f"__MACOSX/deep/._{image.name}", b"\0\5\x16\7")
    np.testing.assert_array_equal(read(tmp_path / "mac.zip"), PIXELS)


def test_a_hidden_folder_may_be_named(folder, tmp_path):
    folder.rename(tmp_path / ".samples")
    np.testing.assert_array_equal(read(tmp_path / ".samples"), PIXELS)


def test_suffixes_of_several_kinds_are_read_together_and_others_named(folder):
    for i in (3, 4, 5):
        path = folder / "deep" / f"sample_{i}.png"
        Image.open(path).save(path.with_suffix(".TIF"), "TIFF")
        path.unlink()
    (folder / "labels.csv").write_text("a,b")
    found = read_images(folder)
    np.testing.assert_array_equal(pixels(found), PIXELS)
    assert found.notes == ("1 files that do not end like images left out (1 .csv)", "formats: 9 PNG, 3 TIFF")


def test_images_of_several_folders_are_named(folder):
    """A folder of masks beside the images, or of another epoch, would be counted with them."""
    (folder / "masks").mkdir()
    Image.fromarray(PIXELS[0]).save(folder / "masks" / "0.png")
    assert read_images(folder).notes == ("images of 2 folders (deep, masks)",)


def test_pictures_that_cannot_be_read_are_named_not_passed_over(folder):
    (folder / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    with pytest.raises(DataError, match=r"1 of 13 images cannot be read \(x\.heic"):
        read_images(folder)


def test_links_to_folders_are_followed_once(folder, tmp_path):
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "here").symlink_to(folder)
    (folder / "loop").symlink_to(tmp_path / "linked")
    np.testing.assert_array_equal(read(tmp_path / "linked"), PIXELS)


def test_a_folder_that_cannot_be_listed_is_an_error(folder, monkeypatch):
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"deep: cannot be listed \(Permission denied\)"):
        open_source(folder)


def test_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", samples=PIXELS, labels=np.arange(12))
    np.savez_compressed(tmp_path / "c.npz", samples=PIXELS)
    (tmp_path / "c.npz").rename(tmp_path / "c.NPZ")
    np.save(tmp_path / "b.npy", PIXELS.transpose(0, 3, 1, 2))
    np.save(tmp_path / "f.npy", PIXELS.astype(np.float32) / 127.5 - 1)
    for name, options in (("a.npz", {}), ("c.NPZ", {}), ("b.npy", {}), ("f.npy", {"value_range": (-1, 1)})):
        np.testing.assert_array_equal(read(tmp_path / name, **options), PIXELS)
    np.testing.assert_array_equal(read(tmp_path / "a.npz", limit=2), PIXELS[:2])


def test_a_foreign_member_of_an_npz_is_passed_over(tmp_path):
    np.savez(tmp_path / "foreign.npz", arr_0=PIXELS)
    with zipfile.ZipFile(tmp_path / "foreign.npz", "a") as file:
        file.writestr("meta.json", "{}")
    np.testing.assert_array_equal(read(tmp_path / "foreign.npz"), PIXELS)


UNIT = PIXELS / 255


@pytest.mark.parametrize(
    ("array", "given", "said"),
    [
        (PIXELS.astype(np.float32), None, "give uint8 in 0..255, or floats and --range"),
        (PIXELS.astype(np.uint16), None, "holds uint16"),
        (PIXELS[..., :2], None, r"expected images \[N, H, W, 3\]"),
        (PIXELS[:0], None, r"expected images"),
        (UNIT.round().astype(np.uint8), None, "bytes are 0 and 1 alone"),
        (UNIT, (0, 255), r"from 0 to 1 fill at most half of --range 0 255"),
        (UNIT, (-1, 1), r"from 0 to 1 fill at most half of --range -1 1"),
        (UNIT * 2 - 1, (0, 1), r"reach beyond --range 0 1"),
        (PIXELS.astype(float), (-1, 1), r"from 0 to 255 reach beyond --range -1 1"),
        (np.where(UNIT > 0.99, np.nan, UNIT), (0, 1), "of 12 images hold NaN"),
        (UNIT, (1, 0), "black and a higher one of white"),
    ],
)
def test_arrays_of_another_type_shape_or_range_are_refused(array, given, said):
    with pytest.raises(DataError, match=said):
        from_array(array, "x", value_range=given)


def test_values_that_are_clipped_are_counted():
    found = from_array(UNIT * 1.2 - 0.1, "x", value_range=(0, 1))
    share = ((UNIT * 1.2 - 0.1 < 0) | (UNIT * 1.2 - 0.1 > 1)).mean()
    assert found.notes == (f"{share:.2%} of the values lay outside of 0..1 and were clipped",)


def test_unreadable_files_are_refused_or_left_out_and_named(folder):
    (folder / "deep" / "sample_2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (folder / "deep" / "sample_3.png").unlink()
    os.mkfifo(folder / "deep" / "sample_3.png")
    with pytest.raises(DataError, match=r"2 of 12 images cannot be read \(sample_2.png, sample_3.png: "):
        read_images(folder)
    found = read_images(folder, allow_unreadable=True)
    assert found.left_out == ("deep/sample_2.png", "deep/sample_3.png")
    assert found.count == 10 and found.names[2] == "deep/sample_4.png"
    np.testing.assert_array_equal(pixels(found), np.delete(PIXELS, [2, 3], 0))


def damaged_zip(folder, path, kind):
    """A zip whose third member cannot be read."""
    archive(folder, path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        third = sorted(file.infolist(), key=lambda member: natural(member.filename))[2]
    start = third.header_offset
    entry = content.index(third.filename.encode(), content.index(b"PK\1\2")) - 46  # in the directory at the end
    if kind == "crc":
        content[start + 30 + len(third.filename) + 40] ^= 1
    elif kind == "deflate64":
        for at in (start + 8, entry + 10):
            content[at] = 9
    else:
        for at in (start + 6, entry + 8):
            content[at] |= 1
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["crc", "deflate64", "encrypted"])
def test_members_of_a_zip_that_cannot_be_read_are_one_line_or_left_out(folder, tmp_path, kind):
    damaged_zip(folder, tmp_path / "a.zip", kind)
    with pytest.raises(
        DataError, match=r"^a\.zip: 1 of 12 images cannot be read \(sample_2\.png: cannot be read \(.*\)"
    ):
        read_images(tmp_path / "a.zip")
    found = read_images(tmp_path / "a.zip", allow_unreadable=True)
    np.testing.assert_array_equal(pixels(found), np.delete(PIXELS, 2, 0))
    assert any("1 images that cannot be read left out (deep/sample_2.png)" in note for note in found.notes)


def test_crafted_archives_cost_little(tmp_path):
    zeros = np.zeros(70 * 2**20, np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", zeros.reshape(-1, 32, 1024, 32))
    with pytest.raises(DataError, match="MiB unpack to 70, more than 200 times as much"):
        read_images(tmp_path / "bomb.npz")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.png", zeros.tobytes())
    with pytest.raises(DataError, match="more than 200 times as much"):
        read_images(tmp_path / "bomb.zip")
    with tarfile.open(tmp_path / "bomb.tar.gz", "w:gz") as file:
        member = tarfile.TarInfo("x.png")
        member.size = len(zeros)
        file.addfile(member, io.BytesIO(zeros.tobytes()))
    with pytest.raises(DataError, match="more than 200 times its size unpacked"):
        read_images(tmp_path / "bomb.tar.gz")


def test_a_header_that_states_more_than_there_is_allocates_nothing(tmp_path):
    header = io.BytesIO()
    shape = (10**7, 1000, 1000, 3)
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as file:
        file.writestr("arr_0.npy", header.getvalue() + b"\0" * 100)
    (tmp_path / "a.npy").write_bytes(header.getvalue() + b"\0" * 100)
    for name, said in (("a.npz", "states more values than it holds"), ("a.npy", "can be read")):
        with pytest.raises(DataError, match=said):
            read_images(tmp_path / name)


def test_sizes_must_be_equal(folder):
    Image.fromarray(PIXELS[0, :6]).save(folder / "z.png")
    with pytest.raises(DataError, match="must be of one size, found 12 of 10×14, 1 of 6×14"):
        read_images(folder)


def test_paths_that_hold_no_images(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.zip").write_bytes(b"no zip")
    (tmp_path / "a.tar").write_bytes(b"no tar")
    (tmp_path / "a.npz").write_bytes(b"no npz")
    (tmp_path / "a.bin").write_bytes(b"")
    np.savez(tmp_path / "two.npz", a=PIXELS, b=PIXELS)
    for name, said in [
        ("none.npz", "no such file or folder"),
        ("none", "no such file or folder"),
        ("empty", "no images in it"),
        ("a.zip", "damaged, or no archive"),
        ("a.tar", "damaged, or no archive"),
        ("a.npz", "can be read"),
        ("a.bin", "is another kind of file; expected a folder of images"),
        ("two.npz", r"holds 2 arrays of four axes \(a, b\), expected one"),
    ]:
        with pytest.raises(DataError, match=said) as caught:
            read_images(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_options_of_decoding_reach_the_files(tmp_path):
    (tmp_path / "images").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(PIXELS[0]).save(tmp_path / "images" / "0.png", exif=exif)
    found = read_images(tmp_path / "images", how=Decoding(orientation="upright"))
    np.testing.assert_array_equal(pixels(found)[0], np.rot90(PIXELS[0], 2))
    assert found.notes == ("1 with turned by EXIF, which is followed",)
