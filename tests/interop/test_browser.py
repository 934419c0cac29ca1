# SPDX-License-Identifier: BSD-3-Clause
"""The usual serve.json in front of a Node app: a page in Chromium on a stock peer, by its tailnet name."""

import json

import pytest
from lab import Control, Headscale, Pillion, Tailscaled, make_world
from lab.build import ROOT
from lab.network import PYTHON
from lab.served import Served

PORT = 3000
# As it stands in most public compose files.
USUAL = """{
  "TCP": {
    "443": {
      "HTTPS": true
    }
  },
  "Web": {
    "${TS_CERT_DOMAIN}:443": {
      "Handlers": {
        "/": {
          "Proxy": "http://127.0.0.1:3000"
        }
      }
    }
  },
  "AllowFunnel": {
    "${TS_CERT_DOMAIN}:443": false
  }
}
"""


@pytest.fixture(params=[Headscale, Control], ids=["headscale", "pillion-control"])
def served(request, lab, pillion_only):
    world = make_world(lab, request.param, Pillion, Tailscaled)
    app = world.sidecar.box.start("node", ROOT / "tests/lab/app.js", PORT, log="node")
    app.wait_text("^serving", 20)
    made = Served(world, USUAL)
    made.app = app
    made.wait("https://NAME/tick?n=1", "tick 1", 30)
    return made


def trust(folder, authority):
    """The certificate database of a user who trusts these authorities."""
    database = folder / ".pki/nssdb"
    database.mkdir(parents=True)
    certificates = authority.read_text().split("-----END CERTIFICATE-----\n")[:-1]
    commands = [["-N", "--empty-password"]]
    for number, text in enumerate(certificates):
        file = folder / f"authority{number}.pem"
        file.write_text(text + "-----END CERTIFICATE-----\n")
        commands.append(["-A", "-t", "C,,", "-n", f"authority {number}", "-i", file])
    return [["certutil", "-d", f"sql:{database}", *command] for command in commands]


def test_a_page_with_all_its_parts(served):
    """Over HTTP/2, with a certificate that the browser trusts: no warning is clicked away."""
    laptop = served.world.laptop.box
    home = laptop.folder / "home"
    for command in trust(home, served.take_authority()):
        laptop.run(*command)
    laptop.start(
        *["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
        *["--no-first-run", "--disable-background-networking", f"--user-data-dir={home}/profile"],
        f"--host-resolver-rules=MAP {served.name} {served.addresses[0]}",
        f"https://{served.name}/",
        environment={"HOME": str(home)},
        log="chromium",
    )
    served.app.wait_text("^report ", 90)
    found = json.loads(served.app.text().split("report ", 1)[1].splitlines()[0])
    assert found == {
        "secure": True,
        "protocol": "h2",
        "style": "rgb(1, 2, 3)",
        "image": 7,
        "echo": 300000,
        "events": ["1", "2", "3"],
        "socket": "hello",
    }
    # The page closed its stream of events, so the app hears of it.
    served.app.wait_text("^events closed", 20)


def test_the_app_closes_idle_connections(served):
    """A request that meets the close is sent once more: none fails. Node waits 5 s, here 50 ms."""
    served.app.kill()
    app = served.node.box.start(
        "node", ROOT / "tests/lab/app.js", PORT, environment={"KEEP_ALIVE_MS": "50"}, log="again"
    )
    app.wait_text("^serving", 20)
    script = (
        "import http.client, socket, ssl, sys, time\n"
        f"s = socket.create_connection(({served.addresses[0]!r}, 443), 20)\n"
        f"c = http.client.HTTPSConnection({served.name!r})\n"
        f"c.sock = ssl.create_default_context(cafile=sys.argv[1]).wrap_socket(s, server_hostname={served.name!r})\n"
        "for n in range(200):\n"
        "    c.request('GET', f'/tick?n={n}')\n"
        "    answer = c.getresponse()\n"
        "    assert (answer.status, answer.read()) == (200, f'tick {n}'.encode()), n\n"
        "    time.sleep(0.045 + n % 20 / 2000)\n"  # around the time when the app closes
    )
    done = served.world.laptop.box.run(PYTHON, "-c", script, served.take_authority(), check=False)
    assert done.returncode == 0, done.stderr


def test_a_stream_both_ways_with_a_trailer(served, tmp_path):
    sent = tmp_path / "sent"
    sent.write_bytes(bytes(range(256)) * 20_000)
    got = tmp_path / "got"
    heads = served.fetch(
        *["https://NAME/echo", "-T", sent, "-X", "POST", "-o", got, "-D", "-", "--http1.1"],
        *["-H", "Transfer-Encoding: chunked", "-H", "TE: trailers"],
    )
    assert got.read_bytes() == sent.read_bytes()
    assert f"x-length: {sent.stat().st_size}" in heads.lower()
