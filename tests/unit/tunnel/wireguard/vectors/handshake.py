#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Writes handshake.txt: a WireGuard handshake by a second implementation.

Straight from the paper (§5.4), with hashlib's BLAKE2s and python3-cryptography's X25519 and
ChaCha20-Poly1305; nothing of it is ours. Run it here to make the file anew.
"""

import hashlib
import hmac
import struct

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def H(data):
    return hashlib.blake2s(data).digest()


def Mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def Hmac(key, data):
    return hmac.new(key, data, hashlib.blake2s).digest()


def Kdf(n, key, data):
    t0, out, t = Hmac(key, data), [], b""
    for i in range(n):
        t = Hmac(t0, t + bytes([i + 1]))
        out.append(t)
    return out


def Aead(key, counter, plain, auth):
    return ChaCha20Poly1305(key).encrypt(bytes(4) + struct.pack("<Q", counter), plain, auth)


def public(private):
    return (
        X25519PrivateKey.from_private_bytes(private)
        .public_key()
        .public_bytes(Encoding.Raw, PublicFormat.Raw)
    )


def Dh(private, peer):
    return X25519PrivateKey.from_private_bytes(private).exchange(
        X25519PublicKey.from_public_bytes(peer)
    )


def secret(n):
    return bytes((n * 16 + i) & 255 for i in range(32))


S_i, S_r, E_i, E_r, Q = secret(1), secret(2), secret(4), secret(6), secret(9)
I_i, I_r = 0x11223344, 0x55667788
# 2023-11-14 22:13:20.123456789 UTC; TAI64 is 2^62 + 10 ahead, nanoseconds lose their low 24 bits.
REALTIME = 1_700_000_000_123_456_789
timestamp = struct.pack(">QI", (1 << 62) + 10 + REALTIME // 10**9, REALTIME % 10**9 & ~0xFFFFFF)

C = H(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
h = H(H(C + b"WireGuard v1 zx2c4 Jason@zx2c4.com") + public(S_r))
e = public(E_i)
(C,) = Kdf(1, C, e)
msg = b"\1\0\0\0" + struct.pack("<I", I_i) + e
h = H(h + e)
C, k = Kdf(2, C, Dh(E_i, public(S_r)))
static = Aead(k, 0, public(S_i), h)
h = H(h + static)
C, k = Kdf(2, C, Dh(S_i, public(S_r)))
stamp = Aead(k, 0, timestamp, h)
h = H(h + stamp)
msg += static + stamp
msg += Mac(H(b"mac1----" + public(S_r)), msg)
initiation = msg + bytes(16)

e = public(E_r)
(C,) = Kdf(1, C, e)
msg = b"\2\0\0\0" + struct.pack("<II", I_r, I_i) + e
h = H(h + e)
(C,) = Kdf(1, C, Dh(E_r, public(E_i)))
(C,) = Kdf(1, C, Dh(E_r, public(S_i)))
C, t, k = Kdf(3, C, Q)
h = H(h + t)
msg += Aead(k, 0, b"", h)
msg += Mac(H(b"mac1----" + public(S_i)), msg)
response = msg + bytes(16)

send, receive = Kdf(2, C, b"")
packet = (
    bytes.fromhex("45000021000000004011 0000 0a000001 0a000002".replace(" ", ""))
    + b"\0\1\0\2\0\x0d\0\0hello"
)
data = (
    b"\4\0\0\0" + struct.pack("<IQ", I_r, 0) + Aead(send, 0, packet + bytes(-len(packet) % 16), b"")
)
answer = b"\4\0\0\0" + struct.pack("<IQ", I_i, 0) + Aead(receive, 0, b"", b"")

with open("handshake.txt", "w") as out:
    print("# Made by handshake.py, a second implementation: name value", file=out)
    for name, value in {
        "initiator_static": S_i,
        "responder_static": S_r,
        "initiator_ephemeral": E_i,
        "responder_ephemeral": E_r,
        "psk": Q,
        "initiation": initiation,
        "response": response,
        "packet": packet,
        "data": data,
        "keepalive": answer,
    }.items():
        print(name, value.hex(), file=out)
    print("initiator_index", f"{I_i:08x}", file=out)
    print("responder_index", f"{I_r:08x}", file=out)
    print("realtime", REALTIME, file=out)
