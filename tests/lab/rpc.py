#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A gRPC app, and its client, without a schema: messages are bytes.

    rpc.py serve PORT [CERTIFICATE KEY]
    rpc.py call ADDRESS:PORT NAME CA|-      all kinds of calls; prints a line of JSON for each
    rpc.py load ADDRESS:PORT NAME CA|- N    N unary calls at once
    rpc.py steady ADDRESS:PORT NAME CA|- S  calls one after another for S seconds

With RPC_AGE the app ends each connection after so many milliseconds, by GOAWAY.

/t.T/Unary    the message back, with the call's headers as trailing metadata
/t.T/Down     N messages of 1000 bytes for a message "N"
/t.T/Up       the sum of the lengths
/t.T/Both     each message back as it comes
/t.T/Fail     NOT_FOUND, as an answer of trailers only
"""

import json
import os
import sys
import time
from concurrent import futures

import grpc

SERVICE = "t.T"


def unary(request, context):
    seen = {key: str(value) for key, value in context.invocation_metadata()}
    context.set_trailing_metadata((("x-seen", json.dumps(seen)),))
    return request


def down(request, _context):
    for _ in range(int(request)):
        yield b"x" * 1000


def up(requests, _context):
    return str(sum(len(request) for request in requests)).encode()


def both(requests, _context):
    yield from requests


def fail(_request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "there is no such thing: ä")


def serve(port, *pair):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
        "Fail": grpc.unary_unary_rpc_method_handler(fail),
    }
    age = os.environ.get("RPC_AGE")
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=32),
        options=[("grpc.max_connection_age_ms", int(age))] if age else None,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if pair:
        with open(pair[1], "rb") as key, open(pair[0], "rb") as certificate:
            proof = grpc.ssl_server_credentials([(key.read(), certificate.read())])
        server.add_secure_port(f"127.0.0.1:{port}", proof)
    else:
        server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("serving", flush=True)
    server.wait_for_termination()


def channel(address, name, authority):
    options = [("grpc.default_authority", name), ("grpc.enable_http_proxy", 0)]
    if authority == "-":
        return grpc.insecure_channel(address, options)
    with open(authority, "rb") as roots:
        proof = grpc.ssl_channel_credentials(roots.read())
    options.append(("grpc.ssl_target_name_override", name))
    return grpc.secure_channel(address, proof, options)


def call(address, name, authority):
    def say(what, **values):
        print(json.dumps({"call": what, **values}), flush=True)

    with channel(address, name, authority) as c:
        answer, done = c.unary_unary(f"/{SERVICE}/Unary").with_call(
            b"hello", metadata=(("x-mine", "1"), ("tailscale-user-login", "root")), timeout=20
        )
        trailers = dict(done.trailing_metadata())
        say("unary", answer=answer.decode(), seen=json.loads(trailers["x-seen"]))
        big = b"y" * 3_000_000
        say("big", same=c.unary_unary(f"/{SERVICE}/Unary")(big, timeout=20) == big)
        pieces = list(c.unary_stream(f"/{SERVICE}/Down")(b"3000", timeout=20))
        say("down", count=len(pieces), size=sum(map(len, pieces)))
        total = c.stream_unary(f"/{SERVICE}/Up")((b"z" * 1000 for _ in range(3000)), timeout=20)
        say("up", total=int(total))
        calls = []

        def questions():
            for number in range(5):
                while len(calls) < number:  # the answer to the last one comes before the next
                    time.sleep(0.01)
                yield str(number).encode()

        for answer in c.stream_stream(f"/{SERVICE}/Both")(questions(), timeout=20):
            calls.append(answer.decode())
        say("both", answers=calls)
        for method in ("Fail", "Missing"):
            try:
                c.unary_unary(f"/{SERVICE}/{method}")(b"", timeout=20)
            except grpc.RpcError as e:
                say(method.lower(), code=e.code().name, details=e.details())


def load(address, name, authority, count):
    with channel(address, name, authority) as c:
        method = c.unary_unary(f"/{SERVICE}/Unary")
        waiting = [method.future(str(n).encode(), timeout=60) for n in range(int(count))]
        wrong = sum(future.result() != str(n).encode() for n, future in enumerate(waiting))
    print(json.dumps({"calls": int(count), "wrong": wrong}), flush=True)


def steady(address, name, authority, seconds):
    count, ends = 0, time.monotonic() + float(seconds)
    with channel(address, name, authority) as c:
        method = c.unary_unary(f"/{SERVICE}/Unary")
        while time.monotonic() < ends:
            assert method(str(count).encode(), timeout=20) == str(count).encode()
            count += 1
    print(json.dumps({"calls": count, "wrong": 0}), flush=True)


if __name__ == "__main__":
    {"serve": serve, "call": call, "load": load, "steady": steady}[sys.argv[1]](*sys.argv[2:])
