"""Documents of one size that cost a careless reader much: nested, endless, of very many parts, in odd encodings."""

import base64
import json
from collections.abc import Iterator


def documents(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield a name and at most ``size`` bytes."""
    yield from _json(size)
    yield from _lines(size)
    yield from _toml(size)
    yield from _signed(size)


def _json(size: int) -> Iterator[tuple[str, bytes]]:
    yield "lists, not closed", b"[" * size
    yield "lists in lists", b"[" * (size // 2) + b"]" * (size // 2)
    yield "objects in objects", b'{"a":' * (size // 5)
    yield "many numbers", b"[" + b"0," * (size // 2 - 2) + b"0]"
    yield "many empty lists", b"[" + b"[]," * (size // 3 - 2) + b"[]]"
    yield "many keys", _filled(b"{", b'"%d":0,', b'"":0}', size)
    yield "one key again and again", b"{" + b'"a":0,' * (size // 6 - 2) + b'"a":0}'
    yield "a long text", b'{"classes": "' + b"a" * (size - 20) + b'"}'
    yield "half pairs", b'"' + rb"\ud800" * (size // 6 - 1) + b'"'
    yield "digits", b"9" * size
    yield "digits behind a point", b"0." + b"9" * (size - 2)
    yield "digits of an exponent", b"1e" + b"9" * (size - 2)
    yield "not a number", b"[" + b"NaN," * (size // 4 - 1) + b"NaN]"
    for key in ("classes", "input_size", "mean", "payload", "entries", "objects"):
        yield f"very many {key}", _filled(b'{"%s":[' % key.encode(), b"%d,", b"0]}", size)


def _lines(size: int) -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "spaces", b" " * size
    yield "empty lines", b"\n" * size
    yield "returns", b"\r" * size
    yield "separators", "\u2028".encode() * (size // 3)
    yield "short lines", b"a\n" * (size // 2)
    yield "other lines", _filled(b"", b"%d\n", b"", size)
    yield "lines of objects", b'{"classes":[0]}\n' * (size // 16)
    yield "one line", b"a" * size
    yield "commas", b"," * size
    yield "classes", b"0," * (size // 2 - 1) + b"0"
    yield "quotes", b'"' * size
    yield "zeros", bytes(size)
    yield "not UTF-8", b"\xff" * size
    yield "UTF-16", ("a" * (size // 2 - 1)).encode("utf-16")
    yield "byte order marks", b"\xef\xbb\xbf" * (size // 3)
    yield "terminal", b"\x1b[2J" * (size // 4)
    yield "marks on a letter", ("a" + "\u0301" * (size // 2 - 1)).encode()


def _toml(size: int) -> Iterator[tuple[str, bytes]]:
    yield "dots", b"a" + b".a" * (size // 2 - 2) + b"=1"
    yield "table in table", b"[a" + b".a" * (size // 2 - 2) + b"]"
    yield "tables", _filled(b"", b"[a%d]\n", b"", size)
    yield "tables of a list", b"[[a]]\n" * (size // 6)
    yield "inline tables", b"a=" + b"{a=" * (size // 3 - 1)
    yield "inline lists", b"a=" + b"[" * (size - 2)
    yield "keys", _filled(b"", b"a%d=1\n", b"", size)
    yield "long keys", b"".join(b"a." * 200 + b"b%d=1\n" % n for n in range(size // 420))
    yield "text of many lines", b'a="""' + b"\n" * (size - 8) + b'"""'
    yield "dates", b"a=[" + b"2026-01-01T00:00:00Z," * (size // 21 - 1) + b"]"


def _signed(size: int) -> Iterator[tuple[str, bytes]]:
    signature = base64.b64encode(bytes(68)).decode()
    line = f"\u2014 a {signature}\n".encode()
    yield "very many signatures", b"a\n1\nAAAA\n\n" + line * (size // len(line) - 1)
    yield "a long note", b"a\n" * (size // 2 - 100) + b"\n" + line
    one = json.dumps({"keyid": "a", "sig": signature}).encode()
    head = b'{"payloadType":"application/vnd.in-toto+json","payload":"e30=","signatures":['
    yield "an envelope of signatures", head + (one + b",") * (size // (len(one) + 1) - 3) + one + b"]}"
    inside = base64.b64encode(b"[" * (size // 2))
    yield "an envelope of lists", head.replace(b"e30=", inside) + one + b"]}"
    inside = base64.b64encode(_filled(b"{", b'"%d":0,', b'"":0}', size // 2))
    yield "an envelope of keys", head.replace(b"e30=", inside) + one + b"]}"
    yield "entries", b'{"seq":1,"leaf":"{}","digest":"0"}\n' * (size // 36)
    leaf = json.dumps("[" * (size // 2)).encode()
    yield "an entry of lists", b'{"seq":1,"leaf":' + leaf + b',"digest":"' + b"0" * 64 + b'"}\n'


def _filled(head: bytes, part: bytes, tail: bytes, size: int) -> bytes:
    """Return as many numbered parts as fit."""
    count = (size - len(head) - len(tail)) // (len(part) + 5)
    return head + b"".join(part % number for number in range(count)) + tail


def tensor_headers(size: int) -> Iterator[tuple[str, bytes]]:
    """Yield safetensors files whose headers are as long as that."""
    entry = b'"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},'
    last = b'"":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    shape = b'{"a":{"dtype":"F32","shape":[' + b"1," * (size // 2 - 60) + b'0],"data_offsets":[0,0]}}'
    for name, header in (
        ("many empty tensors", _filled(b"{", entry, last, size)),
        ("many dimensions", shape),
        ("a long name", b'{"' + b"a" * (size - 60) + b'":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'),
        ("much metadata", _filled(b'{"__metadata__":{', b'"%d":"",', b'"":""}}', size)),
        ("lists in lists", b"[" * size),
    ):
        yield f"tensors: {name}", len(header).to_bytes(8, "little") + header
