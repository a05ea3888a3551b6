"""How many certificates the verifier checks in a second, and how long making them takes.

    python benchmarks/certificates.py [--count 1000] [--log 1000000] [--seed 0]

The statements are as long as those of a ledger with ten classes and four layers; each is another request's. The trees
are as high as that of a log with ``--log`` entries; what stands beside each entry's path is random.
"""

import argparse
import base64
import json
import random
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.audit.merkle import leaf_hash, node_hash
from ledger.audit.signed_notes import Checkpoint, Signer, sign_checkpoint
from ledger.certificates.commitment import commit_to
from ledger.certificates.dsse import key_of, seal
from ledger.certificates.files import certificate_file, tlog_proof
from ledger.certificates.verifier import envelope_digest, verify
from ledger.digest import canonical_json

TEMPLATE = Path(__file__).parents[1] / "tests" / "golden" / "certificates" / "format-1" / "certificate-1.json"


def make(count: int, log: int, seed: int) -> tuple[Signer, list[bytes]]:
    """Return the signer and so many certificates, each the first entry of a log of its own with so many entries."""
    generator = random.Random(seed)  # noqa: S311 - nobody has to be surprised
    signer = Signer("unledger/benchmark", Ed25519PrivateKey.from_private_bytes(generator.randbytes(32)))
    statement = json.loads(base64.b64decode(json.loads(TEMPLATE.read_text())["envelope"]["payload"]))
    predicate = statement["predicate"]
    predicate["log"] = signer.name
    files = []
    for number in range(1, count + 1):
        [opening] = commit_to([(3, "three")], lambda: generator.randbytes(32))
        predicate["request"] |= {"id": number, "classes": [opening.commitment]}
        envelope = seal(canonical_json(statement), signer)
        data = {"certificate": number, "envelope": envelope_digest(envelope), "version": predicate["version"]["number"]}
        event = {
            "at": predicate["issuedAt"],
            "kind": "certificate.issued",
            "actor": "me",
            "model": "digits",
            "data": data,
        }
        leaf = canonical_json({**event, "request": number, "seq": 1, "previous": "0" * 64}).decode()
        path = [generator.randbytes(32) for _ in range((log - 1).bit_length())]
        root = leaf_hash(leaf.encode())
        for part in path:
            root = node_hash(root, part)
        note = sign_checkpoint(Checkpoint(signer.name, log, root), signer)
        files.append(certificate_file(envelope, leaf, tlog_proof(0, path, note)))
    return signer, files


def main(arguments: list[str] | None = None) -> float:
    """Measure, print, and return the seconds that 1,000 certificates take."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="certificates")
    parser.add_argument("--log", type=int, default=1_000_000, help="entries of the log")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(arguments)
    began = time.process_time()
    signer, files = make(asked.count, asked.log, asked.seed)
    made = time.process_time()
    key = key_of(signer.verifier)
    for number, file in enumerate(files, 1):
        if verify(file, key).request != number:
            raise SystemExit(f"certificate {number} verifies as another one")
    seconds: float = (time.process_time() - made) * 1000 / asked.count
    size = sum(map(len, files)) / asked.count
    print(f"{asked.count} certificates of {size / 1000:.1f} kB, made in {made - began:.2f} s of CPU time")
    print(f"verified: {seconds:.2f} s of CPU time for 1,000, {1000 / seconds:.0f} a second")
    return seconds


if __name__ == "__main__":
    main()
