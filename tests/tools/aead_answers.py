#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""aead_answers.py - the known answers of src/tunnel/aead/aead_self_test.c, by RFC 8439 in integers

Prints the ciphertext and tag of the text of RFC 8439 2.4.2, and the BLAKE2s hash of the tags of 2049
packets. No library for the cipher takes part. It takes about a minute.
"""

import hashlib
import struct

MASK = 0xFFFFFFFF
SUNSCREEN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
LENGTH_MAX = 2048
PRIME = (1 << 130) - 5
CLAMP = 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
ROUNDS = (
    ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)),
    ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)),
)


def rotate(value, bits):
    return ((value << bits) & MASK) | (value >> (32 - bits))


def quarter(words, a, b, c, d):
    for to, add, turn, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        words[to] = (words[to] + words[add]) & MASK
        words[turn] = rotate(words[turn] ^ words[to], bits)


def block(key, number, nonce):
    start = [0x61707865, 0x3320646E, 0x79622D32, 0x6B206574]
    start += [*struct.unpack("<8I", key), number, *struct.unpack("<3I", nonce)]
    words = list(start)
    for _ in range(10):
        for half in ROUNDS:
            for one in half:
                quarter(words, *one)
    return struct.pack("<16I", *((a + b) & MASK for a, b in zip(words, start, strict=True)))


def seal(key, counter, plain):
    """Ciphertext and tag of a WireGuard packet: no associated data, a nonce of zeros and counter."""
    nonce = struct.pack("<IQ", 0, counter)
    stream = b"".join(block(key, 1 + i, nonce) for i in range((len(plain) + 63) // 64))
    cipher = bytes(a ^ b for a, b in zip(plain, stream, strict=False))
    one_time = block(key, 0, nonce)[:32]
    r = int.from_bytes(one_time[:16], "little") & CLAMP
    text = cipher + bytes(-len(cipher) % 16) + struct.pack("<QQ", 0, len(cipher))
    total = 0
    for i in range(0, len(text), 16):
        total = (total + int.from_bytes(text[i : i + 16] + b"\1", "little")) * r % PRIME
    total += int.from_bytes(one_time[16:], "little")
    return cipher, (total & ((1 << 128) - 1)).to_bytes(16, "little")


def main():
    cipher, tag = seal(bytes(range(32)), 0x4A000000, SUNSCREEN)
    print("cipher", cipher.hex())
    print("tag   ", tag.hex())
    tags = hashlib.blake2s()
    for length in range(LENGTH_MAX + 1):
        key = bytes((i * 7 + length) & 255 for i in range(32))
        plain = bytes((i + length) & 255 for i in range(length))
        counter = length * 0x0001000100010001 & (1 << 64) - 1
        tags.update(seal(key, counter, plain)[1])
    print("digest", tags.hexdigest())


if __name__ == "__main__":
    main()
