"""Damage for files, repeatable from a seed: bits, blocks, lengths and numbers; archives and PNG stay consistent."""

import io
import random
import re
import struct
import zipfile
import zlib

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
EXTREMES += (1 << 40, (1 << 63) - 1, (1 << 64) - 1)
NUMBERS = (b"-1", b"0", b"1e999", b"NaN", b"null", b"true", b"99999999999999999999", b"9" * 5000)
WORDS = (*NUMBERS, b"[]", b"{}", b'""', b"''", b"\x00", b'"', b"'", b",", b"\n", b"\xff\xfe", b"\xed\xa0\x80")
WORDS += (b"..", b"../../outside", b"/etc/passwd", b"/tmp/outside", b"=cmd()", b"\\ud800", b"a" * 200_000)
WORDS += (b"[" * 3000, b"{" * 300, b"&a [*a,*a]", b"!!python/object/apply:os.system ['true']")
EDGE = 160  # bytes at both ends, where headers and directories are
PNG = b"\x89PNG\r\n\x1a\n"


def mutated(data: bytes, seed: str) -> bytes:
    """Return the file with one to four damages."""
    rng = random.Random(seed)
    if data[:2] == b"PK" and rng.random() < 0.7:
        return _in_archive(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(DAMAGES)(data, rng)
    return _with_checksums(data) if data.startswith(PNG) and rng.random() < 0.7 else data


def _place(size: int, rng: random.Random) -> int:
    """A position, often near an end."""
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(size, EDGE)) if size else 0
    if where < 0.6:
        return max(0, size - 1 - rng.randrange(EDGE))
    return rng.randrange(size) if size else 0


def _flip(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 8)) if data else 0):
        changed[_place(len(data), rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(data: bytes, rng: random.Random) -> bytes:
    start = _place(len(data), rng)
    return data[:start] + data[start + rng.choice((1, 4, 16, 100)) :]


def _splice(data: bytes, rng: random.Random) -> bytes:
    start, place = _place(len(data), rng), _place(len(data), rng)
    block = data[start : start + rng.choice((1, 4, 16, 64, 512))] * rng.choice((1, 1, 3))
    return data[:place] + block + data[place + rng.choice((0, len(block))) :]


def _extreme(data: bytes, rng: random.Random) -> bytes:
    place, width = _place(len(data), rng), rng.choice((1, 2, 4, 8))
    number = (rng.choice(EXTREMES) & ((1 << 8 * width) - 1)).to_bytes(width, rng.choice(("little", "big")))
    return data[:place] + number + data[place + width :]


def _number(data: bytes, rng: random.Random) -> bytes:
    """A number in text, such as a shape in a header, becomes another one."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data[:200_000]))
    if not found:
        return _extreme(data, rng)
    one = rng.choice(found)
    number = rng.choice((*(str(value).encode() for value in EXTREMES), *NUMBERS))
    return data[: one.start()] + number + data[one.end() :]


def _word(data: bytes, rng: random.Random) -> bytes:
    place = _place(len(data), rng)
    found = list(re.finditer(rb"\w+", data[:200_000]))
    one = rng.choice(found) if found and rng.random() < 0.5 else None
    start, end = (one.start(), one.end()) if one else (place, place + rng.choice((0, 1, 4)))
    return data[:start] + rng.choice(WORDS) + data[end:]


DAMAGES = (_flip, _flip, _cut, _drop, _splice, _extreme, _extreme, _number, _word)


def _in_archive(data: bytes, rng: random.Random) -> bytes:
    """Damage a file in the archive, whose checksums and lengths then fit again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(sorted(contents))
    contents[name] = mutated(contents[name], str(rng.random()))
    made = io.BytesIO()
    with zipfile.ZipFile(
        made, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    ) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return made.getvalue()


def _with_checksums(data: bytes) -> bytes:
    """Return a PNG whose chunks have the right checksums, so that what is in them is looked at."""
    made, place = [PNG], len(PNG)
    while place + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        body = data[place + 4 : place + 8 + length]
        made += [data[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
        place += 12 + length
    return b"".join(made)
