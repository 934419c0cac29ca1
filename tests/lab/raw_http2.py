# SPDX-License-Identifier: BSD-3-Clause
"""HTTP/2 frame by frame, valid or not, in a Noise channel of our server."""

import contextlib
import json
import struct
import subprocess
import threading

from lab.build import TOOLS

PIPE = TOOLS / "ts2021_pipe"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
HEADER_TABLE_SIZE, INITIAL_WINDOW = 1, 4


def frame(kind, flags=0, stream=0, payload=b""):
    return (
        struct.pack(">I", len(payload))[1:]
        + bytes([kind, flags])
        + struct.pack(">I", stream)
        + payload
    )


def setting(name, value):
    return frame(SETTINGS, payload=struct.pack(">HI", name, value))


def length(value, bits):
    """An integer of HPACK behind a first byte whose other bits are 0."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([value])
    out, value = bytes([most]), value - most
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def fields(*pairs):
    """A header block: literals without index, not compressed."""
    block = b""
    for name, value in pairs:
        name, value = name.encode(), value.encode()
        block += b"\0" + length(len(name), 7) + name + length(len(value), 7) + value
    return block


def request(stream, path, body=None, method="POST", more=()):
    """A whole request."""
    block = fields(
        (":method", method), (":scheme", "https"), (":authority", "c"), (":path", path), *more
    )
    flags = END_HEADERS | (END_STREAM if body is None else 0)
    out = frame(HEADERS, flags, stream, block)
    if body is not None:
        text = json.dumps(body).encode()
        pieces = [text[at : at + 16384] for at in range(0, len(text), 16384)] or [b""]
        for piece in pieces:
            last = END_STREAM if piece is pieces[-1] else 0
            out += frame(DATA, last, stream, piece)
    return out


class NoiseConnection:
    """One connection with a machine key of its own. It collects received frames while `reading`."""

    def __init__(self, server, reading=True, more=()):
        key = json.loads(server.get("/key?v=138").read())["publicKey"]
        self.process = subprocess.Popen(
            [str(PIPE), "127.0.0.1", str(server.port), key, *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.received = b""
        if reading:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while piece := self.process.stdout.read1(65536):
            self.received += piece

    def start(self, settings=b""):
        self.send(PREFACE + (settings or frame(SETTINGS)))
        return self

    def send(self, bytes_):
        """False when the connection is over."""
        try:
            self.process.stdin.write(bytes_)
            self.process.stdin.flush()
        except (BrokenPipeError, OSError):
            return False
        return True

    def over(self):
        return self.process.poll() is not None

    def frames(self):
        """What came so far, as (kind, flags, stream, payload)."""
        at, found = 0, []
        while at + 9 <= len(self.received):
            size = int.from_bytes(self.received[at : at + 3], "big")
            if at + 9 + size > len(self.received):
                break
            kind, flags = self.received[at + 3 : at + 5]
            stream = int.from_bytes(self.received[at + 5 : at + 9], "big")
            found.append((kind, flags, stream, self.received[at + 9 : at + 9 + size]))
            at += 9 + size
        return found

    def close(self):
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(10)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.stdout.close()
