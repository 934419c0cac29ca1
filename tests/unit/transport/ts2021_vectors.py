#!/usr/bin/env python3
"""Write ts2021_vectors.h: TS2021 by a second implementation.

Python's hashlib and hmac and the cryptography package (python3-cryptography) share
no code with ours. Run by hand when the protocol changes:

    ./ts2021_vectors.py > ts2021_vectors.h
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

VERSION = 138


def blake2s(data):
    return hashlib.blake2s(data).digest()


def hkdf(salt, ikm):
    prk = hmac.new(salt, ikm, hashlib.blake2s).digest()
    first = hmac.new(prk, b"\x01", hashlib.blake2s).digest()
    return first, hmac.new(prk, first + b"\x02", hashlib.blake2s).digest()


def public(key):
    return (
        X25519PrivateKey.from_private_bytes(key)
        .public_key()
        .public_bytes(Encoding.Raw, PublicFormat.Raw)
    )


def agree(key, peer):
    return X25519PrivateKey.from_private_bytes(key).exchange(
        X25519PublicKey.from_public_bytes(peer)
    )


class Symmetric:
    def __init__(self, server):
        self.h = self.ck = blake2s(b"Noise_IK_25519_ChaChaPoly_BLAKE2s")
        self.mix(b"Tailscale Control Protocol v%d" % VERSION)
        self.mix(server)

    def mix(self, data):
        self.h = blake2s(self.h + data)

    def dh(self, shared):
        self.ck, self.k = hkdf(self.ck, shared)

    def seal(self, plain):
        sealed = ChaCha20Poly1305(self.k).encrypt(bytes(12), plain, self.h)
        self.mix(sealed)
        return sealed


def record(key, counter, plain):
    sealed = ChaCha20Poly1305(key).encrypt(bytes(4) + counter.to_bytes(8, "big"), plain, b"")
    return b"\x04" + len(sealed).to_bytes(2, "big") + sealed


def show(name, data):
    print(f"static const uint8_t {name}[] = {{")
    for at in range(0, len(data), 12):
        print("\t" + " ".join(f"0x{byte:02x}," for byte in data[at : at + 12]))
    print("};")


def main():
    machine, server, client_e, server_e = (
        bytes([n]) + bytes(range(1, 31)) + bytes([64 + n]) for n in (8, 16, 24, 32)
    )
    s = Symmetric(public(server))
    s.mix(public(client_e))
    s.dh(agree(client_e, public(server)))
    sealed_machine = s.seal(public(machine))
    s.dh(agree(machine, public(server)))
    initiation = (
        VERSION.to_bytes(2, "big")
        + b"\x01"
        + (96).to_bytes(2, "big")
        + public(client_e)
        + sealed_machine
        + s.seal(b"")
    )
    s.mix(public(server_e))
    s.dh(agree(server_e, public(client_e)))
    s.dh(agree(server_e, public(machine)))
    response = b"\x02" + (48).to_bytes(2, "big") + public(server_e) + s.seal(b"")
    k1, k2 = hkdf(s.ck, b"")

    print("/* SPDX-License-Identifier: BSD-3-Clause */")
    print("/* Written by ts2021_vectors.py: TS2021 by a second implementation */")
    print("#pragma once\n\n#include <stdint.h>\n")
    print("/* clang-format off */")
    print(f"#define VECTOR_VERSION {VERSION}")
    show("vector_machine", machine)
    show("vector_server", server)
    show("vector_client_ephemeral", client_e)
    show("vector_server_ephemeral", server_e)
    show("vector_initiation", initiation)
    show("vector_response", response)
    show("vector_client_record_0", record(k1, 0, b"PRI * HTTP/2.0"))
    show("vector_client_record_1", record(k1, 1, b""))
    show("vector_server_record_0", record(k2, 0, b"\xff\xff\xffTS"))
    show("vector_server_record_300", record(k2, 300, b"big-endian"))
    print("/* clang-format on */")


main()
