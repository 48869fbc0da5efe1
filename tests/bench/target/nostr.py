"""Signed events of Nostr: encrypted direct messages of one author to recipients in turn, as clients send them, a line each.

nostr.py RECIPIENTS EVENTS
"""

import base64
import hashlib
import json
import os
import sys
import time

from coincurve import PrivateKey

KIND = 4
# 500 bytes of plaintext, padded to a whole block; bytes of an initial value.
CIPHERTEXT = 512
INITIAL = 16


def random(length):
    return base64.b64encode(os.urandom(length)).decode()


def event(key, author, recipient):
    created, tags = int(time.time()), [["p", f"{recipient:064x}"]]
    content = f"{random(CIPHERTEXT)}?iv={random(INITIAL)}"
    signed = json.dumps([0, author, created, KIND, tags, content], separators=(",", ":"))
    digest = hashlib.sha256(signed.encode()).digest()
    return {
        "id": digest.hex(),
        "pubkey": author,
        "created_at": created,
        "kind": KIND,
        "tags": tags,
        "content": content,
        "sig": key.sign_schnorr(digest).hex(),
    }


def main(recipients, events):
    key = PrivateKey()
    author = key.public_key_xonly.format().hex()
    for number in range(events):
        print(json.dumps(["EVENT", event(key, author, number % recipients)], separators=(",", ":")))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
