# SPDX-License-Identifier: BSD-3-Clause
"""What a node asks of an ACME authority in spite of crashes, restarts and failures: counted there."""

import json
import os
import re
import signal
import time

import pytest
from lab.cert_site import NAME, Site
from lab.certs import SECRET
from lab.waiting import wait_for

CALM = {"PEBBLE_WFE_NONCEREJECT": "0"}  # so that each request is counted once


@pytest.fixture
def site(lab):
    return Site(lab)


def pauses(site):
    """What the state directory holds of them."""
    file = site.node.state / "pillion-acme.json"
    return json.loads(file.read_text()) if file.exists() else {}


def end_pause(site):
    """As if the time had passed."""
    file = site.node.state / "pillion-acme.json"
    known = pauses(site)
    known[NAME]["begun"] -= known[NAME]["pause"] + 1
    file.write_text(json.dumps(known))


def kill_all(site):
    """SIGKILL for the supervisor and all that it started."""
    site.node.process.kill()


@pytest.mark.parametrize("path", ["sign-me-up", "order-plz", "chalZ/", "finalize-order/"])
@pytest.mark.parametrize("whole", [False, True], ids=["services", "sidecar"])
def test_killed_in_an_order(site, path, whole):
    """One account, one order: the next one has its pause, whoever was killed and starts again."""
    pebble = site.pebble(environment=CALM)
    site.serve({**pebble.environment(), **site.names.environment()})
    wait_for(lambda: pebble.asked(path), 40, site.node.process.describe, interval=0.001)
    for _ in range(3):
        if whole:
            kill_all(site)
            site.node.start(None, site.environment)
            site.node.wait_running()
        else:
            os.kill(site.served.services_pid(), signal.SIGKILL)
        wait_for(lambda: site.issuer(), 20, site.node.process.describe)
    time_left = pauses(site).get(NAME, {}).get("pause", 0)
    assert pebble.asked("sign-me-up") == 1
    assert pebble.asked("order-plz") <= 1
    if "Pebble" in site.issuer():
        return  # it was quicker
    assert 60 <= time_left <= 70
    assert "interrupted" in site.health()
    site.node.stop()
    end_pause(site)
    site.node.start(None, site.environment)
    site.node.wait_running()
    site.wait_certificate()
    assert pebble.accounts() == 1 and pebble.asked("order-plz") <= 2
    wait_for(lambda: pauses(site) == {}, 10, "the pause to be forgotten")


def test_restarts_while_the_authority_refuses(site):
    """Five restarts cost one failed order; another configuration is tried at once."""
    pebble = site.pebble({"httpPort": 5002}, CALM)  # where nothing listens
    site.serve({**pebble.environment(), "TS_ACME_CHALLENGE": "http-01"})
    site.wait_problem("could not verify")
    for again in range(5):
        if again % 2:
            kill_all(site)
            site.node.start(None, site.environment)
            site.node.wait_running()
        else:
            site.restart()
        site.wait_problem("could not verify")
        assert re.search(r"The next try is in \d\d s", site.node.process.text())
    assert (pebble.asked("sign-me-up"), pebble.asked("order-plz")) == (1, 1)
    assert pauses(site)[NAME]["failures"] == 1
    # A clock that was wrong makes no pause longer than it was.
    site.node.stop()
    known = pauses(site)
    known[NAME]["begun"] = int(time.time()) + 10**8
    (site.node.state / "pillion-acme.json").write_text(json.dumps(known))
    site.node.start(None, site.environment)
    site.node.wait_running()
    site.wait_problem("could not verify")
    (pause,) = re.findall(r"The next try is in (\d+) s", site.node.process.text())[-1:]
    assert int(pause) <= 70
    # After the pause there is one more order, and a longer pause.
    site.node.stop()
    end_pause_of_wrong_clock(site)
    site.node.start(None, site.environment)
    site.node.wait_running()
    wait_for(lambda: pauses(site)[NAME]["failures"] == 2, 60, site.node.process.describe)
    site.wait_problem("could not verify")
    assert pebble.asked("order-plz") == 2
    wait_for(lambda: pauses(site)[NAME]["pause"] >= 300, 20, "the longer pause")
    site.environment = {
        **site.environment,
        **site.names.environment(),
        "TS_ACME_CHALLENGE": "dns-01",
    }
    site.restart()
    site.wait_certificate()
    assert pebble.accounts() == 1
    wait_for(lambda: pauses(site) == {}, 10, "the pause to be forgotten")
    assert SECRET not in site.node.process.text()


def end_pause_of_wrong_clock(site):
    known = pauses(site)
    known[NAME]["begun"] = int(time.time()) - known[NAME]["pause"] - 1
    (site.node.state / "pillion-acme.json").write_text(json.dumps(known))


def test_a_damaged_file_of_pauses(site):
    """It is no reason to have no certificate."""
    pebble = site.pebble(environment=CALM)
    site.node.state.mkdir(exist_ok=True)
    (site.node.state / "pillion-acme.json").write_text('{"' + "x" * 4000)
    site.serve({**pebble.environment(), **site.names.environment()})
    site.wait_certificate()
    wait_for(lambda: pauses(site) == {}, 10, "a whole file")
