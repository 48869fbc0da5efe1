"""Primitives of docs/protocol.md, 2: ciphers and curves by libsodium, the rest by the standard library."""

import hashlib
import hmac

from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from .layers import Refused, demand

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493


def sha256(data):
    return hashlib.sha256(data).digest()


def hkdf(key, info, length=32):
    """RFC 5869 with SHA-256, no salt, up to one block."""
    extracted = hmac.new(bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()[:length]


def argon2id(secret, salt, kibibytes, passes):
    """RFC 9106, version 0x13, one lane, 32 bytes."""
    return sodium.crypto_pwhash_alg(32, secret, salt, passes, kibibytes * 1024, sodium.crypto_pwhash_ALG_ARGON2ID13)


# -- Merkle trees, 2.6

def leaf_hash(leaf):
    return sha256(b"\x00" + leaf)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def split(count):
    return 1 << ((count - 1).bit_length() - 1)


def merkle_root(hashes):
    if not hashes:
        return sha256(b"")
    if len(hashes) == 1:
        return hashes[0]
    at = split(len(hashes))
    return node_hash(merkle_root(hashes[:at]), merkle_root(hashes[at:]))


def merkle_path(hashes, index):
    if len(hashes) < 2:
        return []
    at = split(len(hashes))
    if index < at:
        return merkle_path(hashes[:at], index) + [merkle_root(hashes[at:])]
    return merkle_path(hashes[at:], index - at) + [merkle_root(hashes[:at])]


def root_by_inclusion(leaf, index, size, path):
    """The root that a path leads to, by walking down from the top; None if its length is wrong."""
    if index >= size:
        return None
    if size == 1:
        return leaf if not path else None
    if not path:
        return None
    at = split(size)
    if index < at:
        below = root_by_inclusion(leaf, index, at, path[:-1])
        return None if below is None else node_hash(below, path[-1])
    below = root_by_inclusion(leaf, index - at, size - at, path[:-1])
    return None if below is None else node_hash(path[-1], below)


def roots_by_consistency(first, first_root, second, path, whole=True):
    """The earlier and the later root that a path leads to, by walking down; None if its length is wrong."""
    if first == second:
        if whole:
            return (first_root, first_root) if not path else None
        return (path[0], path[0]) if len(path) == 1 else None
    if not path:
        return None
    at = split(second)
    if first <= at:
        below = roots_by_consistency(first, first_root, at, path[:-1], whole)
        return None if below is None else (below[0], node_hash(below[1], path[-1]))
    below = roots_by_consistency(first - at, first_root, second - at, path[:-1], False)
    return None if below is None else (node_hash(path[-1], below[0]), node_hash(path[-1], below[1]))


def is_consistent(first, first_root, second, second_root, path):
    if first > second:
        return False
    if first == 0:
        return not path and first_root == sha256(b"")
    return roots_by_consistency(first, first_root, second, path) == (first_root, second_root)


# -- Signatures, 2.3: once by libsodium and once by the text, which must agree

D = -121665 * pow(121666, P - 2, P) % P
SQRT_MINUS_1 = pow(2, (P - 1) // 4, P)


def _point(encoded):
    """The point of 32 bytes, or None if they are not its canonical encoding."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * SQRT_MINUS_1 % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    return (P - x if x & 1 != sign else x, y)


def _add(a, b):
    (x1, y1), (x2, y2) = a, b
    t = D * x1 * x2 * y1 * y2 % P
    x = (x1 * y2 + x2 * y1) * pow(1 + t, P - 2, P) % P
    y = (y1 * y2 + x1 * x2) * pow(1 - t, P - 2, P) % P
    return x, y


def _multiply(scalar, point):
    result = (0, 1)
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _encode(point):
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _is_small(point):
    return _multiply(8, point) == (0, 1)


def is_identity_key(algorithm, key):
    point = _point(key) if algorithm == 1 and len(key) == 32 else None
    return point is not None and not _is_small(point)


def _verify_by_text(key, message, signature):
    if not is_identity_key(1, key) or len(signature) != 64:
        return False
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    point_r = _point(r)
    if s >= L or point_r is None or _is_small(point_r):
        return False
    k = int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L
    base = _point(bytes([0x58] + [0x66] * 31))
    x, y = _multiply(k, _point(key))
    return _encode(_add(_multiply(s, base), (P - x, y))) == r


def _verify_by_sodium(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    try:
        sodium.crypto_sign_open(signature + message, key)
        return True
    except (CryptoError, ValueError):
        return False


_verdicts = {}


def verify(identity, label, message, signature, by_text=False):
    """`identity` is prefixed: algorithm u16, key."""
    algorithm, key = int.from_bytes(identity[:2], "big"), identity[2:]
    message = label + message
    question = (identity, message, signature)
    if question not in _verdicts:
        _verdicts[question] = algorithm == 1 and _verify_by_sodium(key, message, signature)
    if by_text and algorithm == 1:
        assert _verdicts[question] == _verify_by_text(key, message, signature), "libsodium differs from the text"
    demand(_verdicts[question], "signature", "does not verify")


def sign(seed, message):
    public, secret = sodium.crypto_sign_seed_keypair(seed)
    return public, sodium.crypto_sign(message, secret)[:64]


# -- Boxes, 2.4 and 2.5

def is_encryption_key(key):
    if len(key) != 32 or int.from_bytes(key, "little") >= P:
        return False
    try:
        sodium.crypto_scalarmult(b"\x08" + bytes(30) + b"\x40", key)
        return True
    except RuntimeError:
        return False


def public_of(secret):
    return sodium.crypto_scalarmult_base(secret)


def seal(recipient, ephemeral, plaintext):
    public = public_of(ephemeral)
    nonce = hashlib.blake2b(public + recipient, digest_size=24).digest()
    return public + sodium.crypto_box(plaintext, nonce, recipient, ephemeral)


def open_sealed(secret, box):
    try:
        return sodium.crypto_box_seal_open(box, public_of(secret), secret)
    except (CryptoError, RuntimeError, ValueError, TypeError) as error:
        raise Refused("open", "box does not open") from error


def aead_seal(key, nonce, aad, plaintext):
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad, nonce, key)


def aead_open(key, nonce, aad, sealed):
    demand(len(sealed) >= 16, "open", "shorter than a tag")
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except (CryptoError, ValueError) as error:
        raise Refused("open", "ciphertext does not open") from error


def open_with_nonce(key, aad, sealed):
    demand(len(sealed) >= 40, "open", "shorter than nonce and tag")
    return aead_open(key, sealed[:24], aad, sealed[24:])
