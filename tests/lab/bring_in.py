# SPDX-License-Identifier: BSD-3-Clause
"""What an ingress node does by hand: POST /v0/ingress to a PeerAPI, then the bytes of a client.

python3 bring_in.py PEERAPI-ADDRESS PORT SOURCE TARGET [CAFILE NAME] < request > answer

Without CAFILE the bytes go as they are. Prints the head of the PeerAPI's answer, an empty line, and
what came after it.
"""

import socket
import ssl
import sys


def head_of(s):
    head = b""
    while b"\r\n\r\n" not in head:
        more = s.recv(1)
        if not more:
            break
        head += more
    return head


def main(address, port, source, target, authority="", name=""):
    s = socket.create_connection((address, int(port)), 10)
    s.settimeout(10)
    host = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    lines = ["POST /v0/ingress HTTP/1.1", f"Host: {host}"]
    lines += [f"Tailscale-Ingress-Src: {source}"] if source else []
    lines += [f"Tailscale-Ingress-Target: {target}"] if target else []
    s.sendall("\r\n".join([*lines, "Content-Length: 0", "", ""]).encode())
    head = head_of(s)
    sys.stdout.write(head.decode())
    if b" 101 " not in head.split(b"\r\n")[0]:
        while more := s.recv(4096):
            sys.stdout.write(more.decode())
        return
    if authority:
        context = ssl.create_default_context(cafile=authority)
        s = context.wrap_socket(s, server_hostname=name)
    s.sendall(sys.stdin.buffer.read())
    try:
        while more := s.recv(65536):
            sys.stdout.write(more.decode())
            sys.stdout.flush()
    except (TimeoutError, ConnectionError, ssl.SSLError) as e:
        print(repr(e))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as e:
        print(repr(e))
