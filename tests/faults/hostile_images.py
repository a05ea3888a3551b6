"""Image files that somebody might put into a folder. Used by ``test_hostile_images``."""

import io
import struct
import zlib
from collections.abc import Iterator
from functools import cache

import numpy as np
from PIL import Image, features

WIDE = 8000
"""Side of a square image of 64 million pixels, the most that is read."""
Named = tuple[str, bytes]
"""Name of the file, which ends as images' names do, and its content."""


def images() -> Iterator[Named]:
    """Yield hostile image files: most shall be refused, and some are read, but none may take much."""
    yield from _pngs()
    yield from _jpegs()
    yield from _gifs()
    yield from _bitmaps()
    yield from _tiffs()
    yield from _portable()
    yield from _modern()
    yield from _strangers()
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"):
        whole = saved(noise(64), kind)
        for part in (1, 10, 30, len(whole) // 2, len(whole) - 9):
            yield f"{kind} cut at {part}.png", whole[:part]


def noise(side: int, mode: str = "RGB") -> Image.Image:
    """Return a picture that does not compress."""
    values = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return an image in a format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cache
def _blank(mode: str, width: int = WIDE, height: int = WIDE) -> Image.Image:
    return Image.new(mode, (width, height))


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8, colour: int = 0) -> bytes:
    """Return a PNG file of chunks of our own making."""
    head = (b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (head, *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@cache
def zeros(size: int) -> bytes:
    """Return compressed zeros."""
    packer = zlib.compressobj(6)
    return b"".join(packer.compress(bytes(min(2**20, size - n))) for n in range(0, size, 2**20)) + packer.flush()


def _pngs() -> Iterator[Named]:
    pixel = (b"IDAT", zlib.compress(bytes(2)))
    yield "1 x 1,000,000.png", png(1, 1_000_000, (b"IDAT", zeros(2_000_000)))
    yield "1 x 65,535.png", png(1, 65_535, (b"IDAT", zeros(2 * 65_535)))
    yield "65,535 x 1.png", png(65_535, 1, (b"IDAT", zeros(65_536)))
    yield "65,535 x 976.png", png(65_535, 976, (b"IDAT", zeros(65_536 * 976)))
    yield "64 MP, grey.png", png(WIDE, WIDE, (b"IDAT", zeros((WIDE + 1) * WIDE)))
    yield "64 MP, 16 bits and alpha.png", png(WIDE, WIDE, (b"IDAT", zeros((8 * WIDE + 1) * WIDE)), depth=16, colour=6)
    yield "64 MP, interlaced.png", png(WIDE, WIDE, (b"IDAT", zeros((WIDE + 1) * WIDE)))[:28] + b"\1" + bytes(9)
    yield "64 MP, cut.png", png(WIDE, WIDE, (b"IDAT", zeros((WIDE + 1) * WIDE)))[:30_000]
    yield "144 MP.png", png(12_000, 12_000, (b"IDAT", zeros(12_001 * 12_000)))
    yield "100 MP announced.png", png(10_000, 10_000, pixel)
    yield "3600 MP announced.png", png(60_000, 60_000, pixel)
    yield "2^62 pixels announced.png", png(2**31 - 1, 2**31 - 1, pixel)
    yield "no pixels.png", png(0, 0, pixel)
    yield "more data than announced.png", png(1, 1, (b"IDAT", zeros(2**28)))
    yield "profile of 256 MB.png", png(1, 1, (b"iCCP", b"x\0\0" + zeros(2**28)), pixel)
    yield "text of 256 MB.png", png(1, 1, (b"zTXt", b"x\0\0" + zeros(2**28)), pixel)
    yield "texts.png", png(1, 1, *[(b"zTXt", b"%d\0\0" % n + zeros(2**20)) for n in range(1000)], pixel)
    yield "texts behind.png", png(1, 1, pixel, *[(b"zTXt", b"%d\0\0" % n + zeros(2**20)) for n in range(1000)])
    for place in ("before", "behind"):
        empty = [(b"prVt", b"")] * 800_000
        yield f"800,000 chunks {place}.png", png(1, 1, *([*empty, pixel] if place == "before" else [pixel, *empty]))
    yield "800,000 parts.png", png(1, 1, *[(b"IDAT", b"")] * 800_000)
    frames = [
        part for n in range(100_000) for part in ((b"fcTL", struct.pack(">IIIIIHHBB", n, 1, 1, 0, 0, 1, 1, 0, 0)),)
    ]
    yield "100,000 frames.png", png(1, 1, (b"acTL", struct.pack(">II", 100_000, 0)), pixel, *frames)


def _segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def _jpegs() -> Iterator[Named]:
    small = saved(noise(64), "JPEG")
    sizes = small.index(b"\xff\xc0") + 5
    yield "65,500 x 65,500 announced.jpg", small[:sizes] + struct.pack(">HH", 65_500, 65_500) + small[sizes + 4 :]
    yield "64 MP announced.jpg", small[:sizes] + struct.pack(">HH", WIDE, WIDE) + small[sizes + 4 :]
    yield "64 MP.jpg", saved(_blank("RGB"), "JPEG")
    yield "32 MP, four colours.jpg", saved(_blank("CMYK", WIDE, WIDE // 2), "JPEG", progressive=True)
    progressive = saved(_blank("RGB"), "JPEG", progressive=True, subsampling=0)
    yield "64 MP, progressive.jpg", progressive
    last = progressive.rindex(b"\xff\xda")
    for scans in (20, 50_000):
        repeated = progressive[:last] + progressive[last:-2][:20_000] * min(scans, 500) + b"\xff\xd9"
        yield f"64 MP, {scans} scans.jpg", repeated
    yield (
        "64 MP, empty scans.jpg",
        progressive[:last] + _segment(0xDA, b"\x01\x01\x00\x01\x3f\x10") * 900_000 + b"\xff\xd9",
    )
    yield "notes.jpg", small[:2] + _segment(0xFE, b"x") * 1_500_000 + small[2:]
    yield "parts of a profile.jpg", small[:2] + _segment(0xE2, b"ICC_PROFILE\0\1\xff" + bytes(50)) * 140_000 + small[2:]
    yield "empty parts.jpg", small[:2] + _segment(0xE5, b"") * 2_400_000 + small[2:]
    yield "padding.jpg", small[:2] + b"\xff" * 9_990_000 + small[2:]
    yield "garbage.jpg", small[:2] + b"\x00" * 9_990_000 + small[2:]
    yield "exif loop.jpg", small[:2] + _segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + _tags([]) * 1000) + small[2:]


def _gifs() -> Iterator[Named]:
    small = saved(noise(16, "P"), "GIF")
    begin = small.index(b"\x2c")
    yield "65,535 x 65,535 announced.gif.png", small[:6] + struct.pack("<HH", 65_535, 65_535) + small[10:]
    frame = small[:begin] + b"\x2c" + struct.pack("<HHHH", 60_000, 60_000, 60_000, 60_000) + small[begin + 9 :]
    yield "frame beyond the screen.png", frame
    yield "64 MP.gif.png", saved(_blank("P"), "GIF")
    yield "comments.png", small[:begin] + b"\x21\xfe\x01x\x00" * 1_990_000 + small[begin:]
    yield (
        "one long comment.png",
        small[:begin] + b"\x21\xfe" + (b"\xff" + b"x" * 255) * 39_000 + b"\x00" + small[begin:],
    )
    yield "frames.png", small[:begin] + small[begin:-1] * (10_000_000 // len(small)) + b";"
    yield "blocks without an image.png", small[:begin] + b"\x21\xf9\x04\0\0\0\0\0" * 1_000_000


def _bitmaps() -> Iterator[Named]:
    def bitmap(width: int, height: int, bits: int, compression: int, data: bytes) -> bytes:
        head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 2, 0)
        return b"BM" + struct.pack("<IHHI", 62 + len(data), 0, 0, 62) + head + bytes(8) + data

    yield "64 MP, deltas.bmp", bitmap(WIDE, WIDE, 8, 1, b"\0\2\xff\xff" * 1000)
    yield "64 million in a row, deltas.bmp", bitmap(64_000_000, 1, 8, 1, b"\0\2\0\xff" * 1000)
    yield "2 MP, runs of one.bmp", bitmap(1400, 1400, 8, 1, b"\1\0" * 4_800_000)
    yield "2 MP, ends of lines.bmp", bitmap(1400, 1400, 8, 1, b"\1\0\0\0" * 1400)
    yield "8 MP, four bits.bmp", bitmap(2800, 2800, 4, 2, b"\xff\0" * 32_000)
    yield "64 MP, four bits.bmp", bitmap(WIDE, WIDE, 4, 2, b"\xff\0" * 260_000)
    yield "64 MP announced.bmp", bitmap(WIDE, WIDE, 32, 0, bytes(100))
    yield "upside down.bmp", bitmap(WIDE, -(2**31), 8, 0, bytes(100))


def _tags(entries: list[tuple[int, int, int, int]], *, following: int = 0) -> bytes:
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<H", len(entries)) + packed + struct.pack("<I", following)


def _tiffs() -> Iterator[Named]:
    def tiff(width: int, height: int, data: bytes, *more: tuple[int, int, int, int], compression: int = 8) -> bytes:
        basic = {
            256: (4, 1, width),
            257: (4, 1, height),
            258: (3, 1, 8),
            259: (3, 1, compression),
            262: (3, 1, 1),
            273: (4, 1, 8),
            277: (3, 1, 1),
            278: (4, 1, height),
            279: (4, 1, len(data)),
        }
        basic |= {tag: (kind, count, value) for tag, kind, count, value in more}
        entries = [(tag, *rest) for tag, rest in sorted(basic.items())]
        return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + _tags(entries)

    yield "64 MP.tif", tiff(WIDE, WIDE, zeros(WIDE * WIDE))
    yield "small, strip of 4 GB.tif", tiff(64, 64, zeros(64 * 64), (278, 4, 1, 2**32 - 1))
    tile = zeros(2**28)
    for side in (2**14, 2**16, 2**20):
        tiled = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, 8), (325, 4, 1, len(tile))]
        yield f"tile of {side} squared.tif", tiff(64, 64, tile, *tiled)
    many = [(322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 1, 8), (325, 4, 1, len(tile))]
    yield "few tiles for 64 MP.tif", tiff(WIDE, WIDE, tile, *many)
    yield "200 samples.tif", tiff(WIDE, WIDE, zeros(2**28), (277, 3, 1, 200))
    yield "16 samples, planes.tif", tiff(WIDE, WIDE, zeros(2**28), (277, 3, 1, 16), (284, 3, 1, 2))
    yield "rows in strips of one.tif", tiff(WIDE, WIDE, zeros(WIDE * WIDE), (278, 4, 1, 1))
    yield "profile of 4 GB.tif", tiff(8, 8, zeros(64), (34675, 7, 2**32 - 1, 8))
    yield "strip offsets of 4 GB.tif", tiff(8, 8, zeros(64), (273, 4, 2**30 - 1, 8))
    yield "directory of itself.tif", b"II*\0\x08\0\0\0" + _tags([(256, 4, 1, 8), (257, 4, 1, 8)], following=8)
    yield "directory of 65,535.tif", b"II*\0\x08\0\0\0" + _tags([(n, 7, 100_000, 8) for n in range(65_535)])
    yield "JPEG inside.tif", tiff(WIDE, WIDE, saved(noise(16), "JPEG"), compression=7)
    yield "LZW.tif", tiff(WIDE, WIDE, b"\x80\x00" * 1000, compression=5)


def _portable() -> Iterator[Named]:
    yield "64 MP announced.ppm", b"P6 8000 8000 255\n" + bytes(10**6)
    yield "64 MP, rescaled.ppm", b"P6 8000 8000 254\n" + bytes(9_999_000)
    yield "3 MP, rescaled.ppm", b"P6 1825 1825 254\n" + bytes(3 * 1825 * 1825)
    yield "2 MP, rescaled.ppm", b"P6 1400 1400 254\n" + bytes(3 * 1400 * 1400)
    yield "8 MP, rescaled.pgm", b"P5 2800 2800 254\n" + bytes(2800 * 2800)
    yield "2 MP of digits.pgm", b"P2 1400 1400 254\n" + b"1 " * 1400 * 1400
    yield "5 MP of digits.pgm", b"P2 2200 2200 254\n" + b"1 " * 2200 * 2200
    yield "bits of digits.pbm.png", b"P1 2800 2800\n" + b"1" * 2800 * 2800
    yield "one long number.pgm", b"P2 10 10 255\n" + b"1" * 9_999_000
    yield "comments.pgm", b"P5 " + b"#\n" * 4_999_000 + b"1 1 255\n\0"
    yield "blanks.pgm", b"P5 " + b" " * 9_999_000 + b"1 1 255\n\0"
    yield "negative.pgm", b"P5 -1 -1 255\n\0"
    yield "floats.png", b"Pf 8000 8000 -1.0\n" + bytes(10**6)


def _modern() -> Iterator[Named]:
    for kind in ("WEBP", "AVIF"):
        if not features.check(kind.lower()):
            continue
        yield (
            f"32 MP, {kind}.png",
            saved(_blank("RGBA", WIDE, WIDE // 2), kind, **({"lossless": True} if kind == "WEBP" else {})),
        )
        yield f"{kind} cut.png", saved(noise(64), kind)[:-200]
    webp = saved(noise(16), "WEBP", lossless=True)
    data = bytearray(webp)
    data[21:25] = struct.pack("<I", (16_382 << 14) | 16_382)
    yield "268 MP announced, lossless.webp", bytes(data)
    canvas = b"VP8X" + struct.pack("<II", 10, 0) + b"\xfe\x3f\x00" * 2
    yield (
        "268 MP announced.webp",
        b"RIFF" + struct.pack("<I", len(canvas) + len(webp) - 8) + b"WEBP" + canvas + webp[12:],
    )
    frames = saved(noise(16), "WEBP", save_all=True, append_images=[noise(16, "L").convert("RGB")] * 3000)
    yield "frames.webp", frames


def _strangers() -> Iterator[Named]:
    script = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
        b"(exploded) (w) file closefile\nshowpage\n%%EOF\n"
    )
    yield "EPS.png", script
    yield "EPS in a wrapper.jpg", b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, len(script)) + bytes(20) + script
    yield "PDF.png", b"%PDF-1.4\n1 0 obj <<>> endobj\n%%EOF\n"
    yield "SVG.png", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "MVG.png", b"push graphic-context\nfill 'url(https://example.com/x.jpg\"|touch canary\")'\n"
    yield "WMF.png", b"\xd7\xcd\xc6\x9a" + bytes(60)
    yield "HDF5.png", b"\x89HDF\r\n\x1a\n" + bytes(100)
    for kind in ("ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"):
        yield f"{kind}.png", saved(noise(16), kind)
    yield "XBM.png", b"#define x_width 16\n#define x_height 16\nstatic char x_bits[] = {\n0x00, 0x00\n};\n"
    yield "FITS.png", b"SIMPLE  =                    T".ljust(2880)
    yield "text.png", b"hello\n"
    yield "nothing.png", b""
    yield "zeros.png", bytes(1000)
    yield "zip.png", b"PK\x03\x04" + bytes(100)
