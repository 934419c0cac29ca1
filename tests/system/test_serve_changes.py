# SPDX-License-Identifier: BSD-3-Clause
"""Changes of the configuration while clients are connected: what goes on, and what ends in order."""

import signal
import time

import pytest
from lab import wait_for
from lab.network import PROGRAMS, PYTHON
from lab.served import Served

APP, OTHER_APP, HTTP2_APP, LATE_APP = 8081, 8083, 8084, 8085
FINISHES = 4  # PRIVSEP_SERVE_END


@pytest.fixture
def served(world):
    made = Served(world, config())
    start_apps(made.node.box)
    wait_for(lambda: made.fetch("http://NAME/http1").isdigit(), 20, made.node.process.describe)
    return made


def config(**more):
    """Each path leads to an app that answers with the number of its connection."""
    handlers = {
        "/http1": {"Proxy": f"http://127.0.0.1:{APP}"},
        "/http2": {"Proxy": f"h2c://127.0.0.1:{HTTP2_APP}"},
        **more,
    }
    return {"TCP": {"80": {"HTTP": True}}, "Web": {"${TS_CERT_DOMAIN}:80": {"Handlers": handlers}}}


def listens(box, port):
    return box.run("nc", "-z", "127.0.0.1", port, check=False).returncode == 0


def start_apps(box):
    file = box.folder / "apps.conf"
    text = 'default_type text/plain; location / { return 200 "$connection"; }'
    servers = "".join(
        f"server {{ listen 127.0.0.1:{port}{' http2' if port == HTTP2_APP else ''}; {text} }}\n"
        for port in (APP, OTHER_APP, HTTP2_APP)
    )
    file.write_text(
        f"daemon off; worker_processes 1; error_log stderr; pid {box.folder}/apps.pid;\n"
        f"events {{}}\nhttp {{ access_log off;\n{servers}}}\n"
    )
    process = box.start("nginx", "-c", file, log="apps")
    wait_for(lambda: listens(box, HTTP2_APP), 15, process.describe)


def test_connections_to_the_app_outlive_a_change(served):
    """Those to targets that stay, whatever their numbers are; those to others are closed."""
    for path in ("http1", "http2"):
        served.change(config())
        used = served.fetch(f"http://NAME/{path}")
        # Other targets before it: its number in the list is another one.
        served.change(config(**{"/a": {"Proxy": f"{OTHER_APP}"}, "/0": {"Text": "0"}}))
        assert served.fetch(f"http://NAME/{path}") == used, path
    other = served.fetch("http://NAME/a")
    served.change(config())
    served.change(config(**{"/a": {"Proxy": f"{OTHER_APP}"}}))
    assert served.fetch("http://NAME/a") != other


LATE = f"""
import http.server, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print("asked", self.path, flush=True)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"6\\r\\nbegin \\r\\n")
        for _ in range(8 if "late" in self.path else 1000):
            time.sleep(0.25)
            self.wfile.write(b"1\\r\\n.\\r\\n")
        self.wfile.write(b"3\\r\\nend\\r\\n0\\r\\n\\r\\n")
http.server.ThreadingHTTPServer(("127.0.0.1", {LATE_APP}), Handler).serve_forever()
"""


class Requests:
    """One by HTTP/1.1 and one by HTTP/2, for pages that the app takes its time for."""

    def __init__(self, served, path):
        more = {f"/{p}": {"Proxy": f"http://127.0.0.1:{LATE_APP}/{p}"} for p in ("late", "endless")}
        served.change(config(**more))
        app = served.node.box.start(PYTHON, "-c", LATE, log="late")
        laptop, name = served.world.laptop.box, served.name
        wait_for(lambda: listens(served.node.box, LATE_APP), 15, app.describe)
        self.clients = [
            laptop.start(
                *["curl", "-sS", "-N", "-v", "--max-time", "30", *more],
                *["--connect-to", f"{name}::{served.addresses[0]}:", f"http://{name}{path}"],
                log=f"client{number}",
            )
            for number, more in enumerate([[], ["--http2-prior-knowledge"]])
        ]
        wait_for(lambda: app.text().count("asked") == 2, 20, app.describe)
        for client in self.clients:
            client.wait_text("begin ", 10)

    def finished(self):
        """Whether both clients had the whole answer."""
        codes = [client.wait(30) for client in self.clients]
        return codes == [0, 0] and all("end" in client.text() for client in self.clients)


def test_requests_under_way_finish_when_the_sidecar_ends(served):
    requests = Requests(served, "/late")
    served.node.process.signal(signal.SIGTERM)
    assert requests.finished(), [c.text() for c in requests.clients]
    assert served.node.process.wait(20) == 0


def test_an_endless_request_delays_the_end_for_a_while_only(served):
    requests = Requests(served, "/endless")
    began = time.monotonic()
    served.node.process.signal(signal.SIGTERM)
    assert served.node.process.wait(30) == 0
    assert FINISHES - 0.5 < time.monotonic() - began < 5 * FINISHES
    assert not requests.finished()


def test_a_second_signal_waits_for_no_request(served):
    requests = Requests(served, "/endless")
    began = time.monotonic()
    served.node.process.signal(signal.SIGTERM)
    served.node.process.wait_text("SIGTERM: stopping", 10)
    time.sleep(0.3)  # one signal may stand for two that come together
    served.node.process.signal(signal.SIGTERM)
    assert served.node.process.wait(30) == 0
    assert time.monotonic() - began < FINISHES
    assert not requests.finished()


def test_requests_under_way_finish_when_their_port_goes(served):
    requests = Requests(served, "/late")
    served.write({"TCP": {"82": {"HTTP": True}}})
    wait_for(lambda: "Failed to connect" in served.fetch("http://NAME/"), 20, "port 80 to close")
    assert requests.finished(), [c.text() for c in requests.clients]


def test_requests_under_way_finish_when_the_last_port_goes(served):
    requests = Requests(served, "/late")
    served.write({})
    wait_for(lambda: "Failed to connect" in served.fetch("http://NAME/"), 20, "port 80 to close")
    assert requests.finished(), [c.text() for c in requests.clients]


def test_the_app_may_take_a_port_that_still_has_requests(served):
    """And it may be served again."""
    requests = Requests(served, "/late")
    served.write({"TCP": {"82": {"HTTP": True}}})
    wait_for(lambda: "Failed to connect" in served.fetch("http://NAME/"), 20, "port 80 to close")
    own = served.node.box.start(PYTHON, PROGRAMS, "serve", "own", 80, log="own")
    own.wait_text("^serving", 10)
    assert "own" in served.fetch("http://NAME/")
    assert requests.finished(), [c.text() for c in requests.clients]
    served.write(config())
    wait_for(lambda: served.fetch("http://NAME/http1").isdigit(), 20, "the served port")
