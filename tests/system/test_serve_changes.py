# SPDX-License-Identifier: BSD-3-Clause
"""Changes of the configuration while clients are connected: what goes on, and what ends in order."""

import pytest
from lab import wait_for
from lab.served import Served

APP, OTHER_APP, HTTP2_APP = 8081, 8083, 8084


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
    wait_for(
        lambda: box.run("nc", "-z", "127.0.0.1", HTTP2_APP, check=False).returncode == 0,
        15,
        process.describe,
    )


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
