"""Judges webhooks that were signed by Ed25519 with a library that is not ours, as Standard Webhooks 1.0 says.

Reads one JSON object, {"public_key": "whpk_...", "webhooks": [{"headers": {...}, "body": base64}, ...]}, from standard
input. Exits with 1 unless each bears a `v1a` signature that is right, and that is wrong once the body is another.
"""

import base64
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def accepts(public_key, headers, body):
    """Whether one of the signatures is right."""
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key.removeprefix("whpk_"), validate=True))
    signed = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    for signature in headers["webhook-signature"].split(" "):
        version, _, encoded = signature.partition(",")
        if version != "v1a":
            continue
        try:
            key.verify(base64.b64decode(encoded, validate=True), signed)
            return True
        except InvalidSignature:
            pass
    return False


def main():
    run = json.load(sys.stdin)
    for number, webhook in enumerate(run["webhooks"]):
        headers, body = webhook["headers"], base64.b64decode(webhook["body"])
        if not accepts(run["public_key"], headers, body):
            sys.exit(f"webhook {number}: no signature is right")
        if accepts(run["public_key"], headers, body + b" "):
            sys.exit(f"webhook {number}: it is right for another body, too")
    print(f"cryptography judged {len(run['webhooks'])} webhooks, refused 0")


if __name__ == "__main__":
    main()
