"""Find the images in a folder, a zip, a tar or an LMDB: one list of names in natural order, read one at a time.

Hidden files and folders are no images (`.ipynb_checkpoints`, and what macOS and file servers leave beside pictures).
Files that do not end like an image are left out and named, unless they are pictures of a kind that cannot be read:
those are listed as broken.
"""

import bz2
import gzip
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NoReturn

import numpy as np

from benchmark.data.arrays import DataError
from benchmark.data.decoding import MAX_BYTES, SUFFIXES

UNKNOWN_PICTURES = {".heic", ".heif", ".jxl", ".exr", ".hdr", ".pfm", ".svg", ".psd", ".tga", ".dds", ".dng", ".cr2"}
"""How the names of pictures end that are not read."""
HIDDEN_FOLDERS = {"__MACOSX", "@eaDir"}
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_EXPANSION = 200
"""How many times its size an archive may take unpacked; images hardly become smaller in one."""
SMALL = 2**26
"""Bytes that may be anything but small when they are packed."""
_DECOMPRESS: dict[str, Any] = {"gz": gzip.open, "bz": bz2.open, "xz": lzma.open}

Read = Callable[[str], bytes | np.ndarray]


@dataclass(frozen=True)
class Source:
    """Encoded or decoded images in a fixed order.

    Attributes:
        names: one an image, for messages, for splits and for pairs.
        fetch: name -> contents of the file, or an array [H, W, 3].
        described: where the images come from, for records.
        place: where they lie on this machine, which tells sources of the same names apart.
        notes: what was left out.
    """

    names: list[str]
    fetch: Read
    described: str
    place: str = ""
    notes: tuple[str, ...] = ()

    def read(self, i: int) -> bytes | np.ndarray:
        """Contents of image i.

        Raises:
            DataError: it cannot be read; the reason alone, since the caller has the name.
        """
        try:
            return self.fetch(self.names[i])
        except DataError:
            raise
        except (KeyError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else " ".join(str(error).split())
            raise DataError(f"cannot be read ({reason})") from None
        except Exception as error:  # zipfile, zlib, lzma and lmdb raise many kinds
            raise DataError(f"cannot be read ({' '.join(str(error).split()) or type(error).__name__})") from None


def open_source(path: Path) -> Source:
    """Images in a folder (with its subfolders), an archive, or an LMDB as LSUN has them.

    Raises:
        DataError: nothing there, no images in it, damaged, or the package that reads it is missing.
    """
    path = path.absolute()  # "." has no name
    if path.is_dir() and (path / "data.mdb").exists():
        return _lmdb(path)
    if path.is_dir():
        found, fetch = _folder(path)
    elif path.name.lower().endswith(ARCHIVES) and path.is_file():
        found, fetch = _zip(path) if path.suffix.lower() == ".zip" else _tar(path)
    else:
        there = "is another kind of file" if path.exists() else "no such file or folder"
        raise DataError(f"{path}: {there}; expected a folder of images, an LMDB folder, or {', '.join(ARCHIVES)}")
    names, notes = choose(found)
    if not names:
        also = f"; {notes[0]}" if notes else ""
        raise DataError(f"{path}: no images in it (looked for {', '.join(sorted(SUFFIXES))}{also})")
    return Source(names, fetch, path.name, str(path.resolve()), tuple(notes))


def choose(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """The names of images in natural order, pictures that cannot be read among them; and a note on all others."""
    chosen, hidden, others = [], 0, Counter[str]()
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        if is_hidden(name):
            hidden += 1
        elif suffix in SUFFIXES or suffix in UNKNOWN_PICTURES:
            chosen.append(name)
        else:
            others[suffix or "no suffix"] += 1
    notes = []
    folders = sorted({PurePosixPath(name).parent.as_posix() for name in chosen}, key=natural)
    if len(folders) > 1:
        notes.append(
            f"images of {len(folders)} folders ({', '.join(folders[:4])}{', ...' if len(folders) > 4 else ''})"
        )
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(4))
        notes.append(f"{others.total()} files that do not end like images left out ({kinds})")
    if hidden:
        notes.append(f"{hidden} hidden files left out")
    return sorted(chosen, key=natural), notes


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder on the way to it, is hidden."""
    return any(part.startswith(".") or part in HIDDEN_FOLDERS for part in PurePosixPath(name).parts)


def natural(name: str) -> tuple[list[tuple[int, str]], str]:
    """Key for sorting by numbers within names: `sample_2` before `sample_10`."""
    parts = re.split(r"(\d+)", name)  # texts and numbers in turn, so that like is compared with like
    return [(int(part), "") if k % 2 else (0, part) for k, part in enumerate(parts)], name


def _folder(path: Path) -> tuple[Iterable[str], Read]:
    return _walk(path), lambda name: _read_file(path / name)


def _walk(folder: Path) -> Iterator[str]:
    """Files below a folder, also through links to folders, each folder once."""
    seen = set()
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        found = Path(place).stat()
        if (found.st_dev, found.st_ino) in seen:
            folders.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        base = Path(place).relative_to(folder)
        yield from ((base / file).as_posix() for file in files)


def _raise(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be listed ({error.strerror})")


def _read_file(path: Path) -> bytes:
    """Contents of a regular file: a pipe would wait for ever."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise DataError("is no regular file")
    _check_size(found.st_size)
    return path.read_bytes()


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"has {size / 2**20:,.0f} MiB, more than {MAX_BYTES / 2**20:.0f}")


def check_expansion(member: zipfile.ZipInfo) -> None:
    """Refuse a member of a zip that is far too small to hold images.

    Raises:
        DataError: the reason, without the name.
    """
    if member.file_size > max(SMALL, MAX_EXPANSION * member.compress_size):
        sizes = f"{member.compress_size / 2**20:.1f} MiB unpack to {member.file_size / 2**20:,.0f}"
        raise DataError(f"{sizes}, more than {MAX_EXPANSION} times as much: not images; refused")


def _damaged(path: Path, error: Exception) -> NoReturn:
    raise DataError(f"{path}: damaged, or no archive ({' '.join(str(error).split())})") from None


def _zip(path: Path) -> tuple[Iterable[str], Read]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        _damaged(path, error)
    members = {member.filename: member for member in archive.infolist() if not member.is_dir()}

    def fetch(name: str) -> bytes:
        member = members[name]
        _check_size(member.file_size)
        check_expansion(member)
        return archive.read(member)

    return members, fetch


def _tar(path: Path) -> tuple[Iterable[str], Read]:
    """A tar; a compressed one is unpacked to a temporary file first, for there is no way about in it."""
    file: IO[bytes] = path.open("rb")
    decompress = next((function for end, function in _DECOMPRESS.items() if end in path.suffix.lower()), None)
    try:
        if decompress or path.suffix.lower() == ".tgz":
            file = _unpacked(path, (decompress or gzip.open)(file))
        with tarfile.open(fileobj=file, mode="r:") as archive:
            members = {member.name.removeprefix("./"): member for member in archive if member.isfile()}
    except (tarfile.TarError, OSError, EOFError, lzma.LZMAError, ValueError) as error:
        _damaged(path, error)

    def fetch(name: str) -> bytes:
        member = members[name]
        _check_size(member.size)
        if member.issparse():
            raise DataError("is a sparse member of a tar")
        content = os.pread(file.fileno(), member.size, member.offset_data)  # threads share the file
        if len(content) < member.size:
            raise DataError("is cut short")
        return content

    return members, fetch


def _unpacked(path: Path, packed: Any) -> IO[bytes]:
    scratch = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the source
    allowed = max(MAX_EXPANSION * path.stat().st_size, 2**20)
    while block := packed.read(2**20):
        scratch.write(block)
        if scratch.tell() > allowed:
            raise DataError(f"{path}: takes more than {MAX_EXPANSION} times its size unpacked: not images; refused")
    scratch.flush()
    scratch.seek(0)
    return scratch


def _lmdb(path: Path) -> Source:
    """The LMDB of an LSUN category: values are encoded images, in the order of their keys."""
    try:
        import lmdb
    except ImportError:
        raise DataError(f"{path}: reading an LMDB needs the package lmdb: pip install lmdb") from None
    try:
        environment = lmdb.open(str(path), readonly=True, lock=False, readahead=False)
    except lmdb.Error as error:
        raise DataError(f"{path}: damaged, or no LMDB ({error})") from None
    found = (path / "data.mdb").stat().st_size
    stated = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
    if found < stated:  # it is memory-mapped: reading beyond its end would kill the process
        raise DataError(f"{path}: cut short, data.mdb has {found:,} of {stated:,} bytes")
    with environment.begin() as transaction:
        keys = {key.decode("latin-1"): bytes(key) for key in transaction.cursor().iternext(keys=True, values=False)}

    def fetch(name: str) -> bytes:
        with environment.begin() as transaction:
            return transaction.get(keys[name]) or b""

    if not keys:
        raise DataError(f"{path}: no images in it")
    return Source(list(keys), fetch, path.name, str(path.resolve()))
