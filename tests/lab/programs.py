# SPDX-License-Identifier: BSD-3-Clause
"""Small programs that run inside of boxes.

    programs.py serve NAME PORT   the app: pages, and connections that last
    programs.py hold HOST PORT    one connection, driven by commands on standard input
    programs.py first HOST PORT   until the first page comes: a new attempt every 100 ms
    programs.py reflect PORT      a UDP server that answers with the address that it saw
    programs.py ask PORT HOST...  ask such servers from one socket, bound to PORT or 0; prints each
                                  answer, or an empty line after a second without one
    programs.py names FILE        a name server for the lines "ADDRESS NAME" of a file
    programs.py answer CERTIFICATE KEY FILE
                                  an HTTPS server that answers each request with the contents of FILE;
                                  prints "asked TARGET" for each, "connection" for all it accepts

The app answers on every address of both families. GET / names it, GET /bytes/N sends N bytes;
a connection that begins with "echo\\n" gets every line back, one that begins with "ticks\\n" a
numbered line every 50 ms.
"""

import contextlib
import ipaddress
import socket
import ssl
import struct
import sys
import threading
import time

TICK = 0.05


def _serve_connection(name, connection):
    with connection:
        file = connection.makefile("rwb")
        first = file.readline()
        if first == b"echo\n":
            for line in file:
                file.write(line)
                file.flush()
        elif first == b"ticks\n":
            number = 0
            while True:
                file.write(b"%d\n" % number)
                file.flush()
                number += 1
                time.sleep(TICK)
        elif first.startswith(b"GET "):
            while file.readline() not in (b"\r\n", b"\n", b""):
                pass
            path = first.split()[1].decode()
            body = f"this is {name}\n".encode()
            if path.startswith("/bytes/"):
                body = b"x" * int(path.removeprefix("/bytes/"))
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            file.write(head.encode() + body)
            file.flush()


def _serve_quietly(name, connection):
    with contextlib.suppress(OSError, ValueError):  # the client went away
        _serve_connection(name, connection)


def serve(name, port):
    """The app. An address family that is off is left out."""
    listener = socket.create_server(
        ("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
    )
    print("serving", flush=True)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve_quietly, args=(name, connection), daemon=True).start()


def _report_lines(connection):
    last = time.monotonic()
    try:
        for line in connection.makefile("rb"):
            now = time.monotonic()
            print(f"got {line.decode().strip()} {now:.3f} {now - last:.3f}", flush=True)
            last = now
        print("end of connection", flush=True)
    except OSError as error:
        print(f"broken: {error}", flush=True)


def hold(host, port):
    """Connect; each line of input is sent, each line received reported with time and gap."""
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print("connected", flush=True)
    threading.Thread(target=_report_lines, args=(connection,), daemon=True).start()
    for line in sys.stdin:
        connection.sendall(line.encode())


def _attempt(host, port, found):
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=20) as c:
        c.sendall(b"GET / HTTP/1.1\r\n\r\n")
        if c.recv(1):
            found.set()


def first(host, port):
    """Report when the first byte of a page came, on the clock of time.monotonic()."""
    found = threading.Event()
    while not found.wait(0.1):
        threading.Thread(target=_attempt, args=(host, int(port), found), daemon=True).start()
    print(f"first byte {time.monotonic():.3f}", flush=True)


def _udp(port):
    server = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.bind(("::", int(port)))
    return server


def reflect(port):
    """An address as text; a mapped IPv4 address as IPv4."""
    server = _udp(port)
    print("serving", flush=True)
    while True:
        _, (host, source_port, *_) = message = server.recvfrom(2048)
        seen = f"{host.removeprefix('::ffff:')} {source_port}"
        server.sendto(seen.encode(), message[1])


def ask(port, *hosts):
    """The servers listen on port 9, where no other program listens."""
    client = _udp(port)
    client.settimeout(1)
    for host in hosts:
        client.sendto(b"?", (host if ":" in host else f"::ffff:{host}", 9))
        try:
            print(client.recv(2048).decode(), flush=True)
        except OSError:
            print(flush=True)


def _answer(question, known):
    """The reply to one DNS question (RFC 1035); A and AAAA of known names, else NXDOMAIN."""
    at, labels = 12, []
    while question[at]:
        labels.append(question[at + 1 : at + 1 + question[at]].decode().lower())
        at += 1 + question[at]
    kind = int.from_bytes(question[at + 1 : at + 3], "big")
    addresses = [ipaddress.ip_address(a) for a, name in known if name == ".".join(labels)]
    version = {1: 4, 28: 6}.get(kind)
    records = b"".join(
        b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 5, len(a.packed)) + a.packed
        for a in addresses
        if a.version == version
    )
    count = sum(1 for a in addresses if a.version == version)
    flags = 0x8580 if addresses else 0x8583
    head = question[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
    return head + question[12 : at + 5] + records


def names(path):
    """Over UDP alone: no answer here is long."""
    server = _udp(53)
    print("serving", flush=True)
    while True:
        question, client = server.recvfrom(4096)
        with open(path, encoding="ascii") as file:
            known = [tuple(line.split()) for line in file]
        with contextlib.suppress(IndexError, UnicodeDecodeError):
            server.sendto(_answer(question, known), client)


def _answer_connection(context, connection, path):
    with contextlib.suppress(OSError, ValueError), connection:
        connection.settimeout(20)
        with context.wrap_socket(connection, server_side=True) as tls:
            file = tls.makefile("rwb")
            target = file.readline().split()[1].decode()
            while file.readline() not in (b"\r\n", b"\n", b""):
                pass
            with open(path, "rb") as answer:
                body = answer.read()
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
            print(f"asked {target}", flush=True)
            file.write(head.encode() + body)
            file.flush()


def answer(certificate, key, path):
    """On all addresses, port 443."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(
        ("::", 443), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64
    )
    print("serving", flush=True)
    while True:
        connection, _ = listener.accept()
        print("connection", flush=True)
        threading.Thread(
            target=_answer_connection, args=(context, connection, path), daemon=True
        ).start()


if __name__ == "__main__":
    programs = (serve, hold, first, reflect, ask, names, answer)
    {program.__name__: program for program in programs}[sys.argv[1]](*sys.argv[2:])
