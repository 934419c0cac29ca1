# SPDX-License-Identifier: BSD-3-Clause
"""WireGuard implementations in user space as they come: two boxes, one tunnel between them."""

import socket
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from lab.peers import peer
from lab.waiting import wait_for

DEVICE, PORT, MTU = "wg0", 51820, 1280
ADDRESSES = "10.79.0.1", "10.79.0.2"
# boringtun gives its rights away at the start, which needs a user of a login session.
FLAGS = {"boringtun-cli": ["--disable-drop-privileges"]}


def key_pair():
    """(private, public), hexadecimal."""
    private = X25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    return secret.hex(), private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _command(name):
    """wireguard-go calls its program "wireguard"."""
    return peer(name.removesuffix("-go") if name == "wireguard-go" else name)


def _configure(process, lines):
    """Speak the user-space protocol of WireGuard's configuration to a device."""
    # The program has a /run of its own, as in a container.
    path = Path(f"/proc/{process.pid}/root/run/wireguard/{DEVICE}.sock")
    wait_for(path.exists, 10, lambda: f"the socket of {process.describe()}")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall("".join(f"{line}\n" for line in ["set=1", *lines, ""]).encode())
        answer = connection.makefile().readline()
    assert answer == "errno=0\n", f"{answer}: {process.describe()}"


def wireguard_pair(a, b, program):
    """Connect two boxes; (address of the second, processes of both)."""
    keys = [key_pair() for _ in ADDRESSES]
    boxes, processes = (a, b), []
    for box, address, key, other, far, far_key in zip(
        boxes, ADDRESSES, keys, reversed(boxes), reversed(ADDRESSES), reversed(keys), strict=True
    ):
        process = box.start(_command(program), "-f", *FLAGS.get(program, []), DEVICE, log=program)
        _configure(
            process,
            [
                *[f"private_key={key[0]}", f"listen_port={PORT}"],
                f"public_key={far_key[1]}",
                *[f"endpoint={other.v4}:{PORT}", f"allowed_ip={far}/32"],
            ],
        )
        box.run("ip", "address", "add", f"{address}/24", "dev", DEVICE)
        box.run("ip", "link", "set", DEVICE, "mtu", MTU, "up")
        processes.append(process)
    return ADDRESSES[1], processes
