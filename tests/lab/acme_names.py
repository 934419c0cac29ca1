# SPDX-License-Identifier: BSD-3-Clause
"""acme_names.py FILE: a name server for TXT questions alone, from lines "NAME VALUE" in FILE.

On TCP port 53 of loopback, where Pebble asks.
"""

import socket
import struct
import sys
from pathlib import Path

TXT = 16


def answer(question, records):
    """The whole answer to one DNS question; NXDOMAIN for what there isn't."""
    labels, at = [], 12
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    kind = struct.unpack_from("!H", question, at + 1)[0]
    asked = question[12 : at + 5]
    values = [value for name, value in records if name == ".".join(labels) and kind == TXT]
    head = question[:2] + struct.pack("!HHHHH", 0x8580 if values else 0x8583, 1, len(values), 0, 0)
    body = b"".join(
        struct.pack("!HHHIHB", 0xC00C, TXT, 1, 1, len(value) + 1, len(value)) + value.encode()
        for value in values
    )
    return head + asked + body


def take(connection, length):
    """So many bytes, or what there was before the end."""
    taken = b""
    while len(taken) < length and (piece := connection.recv(length - len(taken))):
        taken += piece
    return taken


def serve(path):
    with socket.create_server(("127.0.0.1", 53)) as listener:
        print("serving", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                while len(length := take(connection, 2)) == 2:
                    question = take(connection, int.from_bytes(length, "big"))
                    records = [line.split() for line in Path(path).read_text().splitlines()]
                    text = answer(question, records)
                    connection.sendall(len(text).to_bytes(2, "big") + text)


if __name__ == "__main__":
    serve(sys.argv[1])
