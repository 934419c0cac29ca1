# SPDX-License-Identifier: BSD-3-Clause
"""`pillion connect` and `disconnect`: a daemon in the background, as a start-up hook makes one.

control (Headscale) ── switch ── dev (pillion connect, then its daemon)
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from lab import Headscale, wait_for
from lab.build import build_folder

PILLION = build_folder() / "pillion"


class Developer:
    """A box in which the command is run; its state and socket stay from run to run."""

    def __init__(self, box, headscale):
        self.box = box
        self.headscale = headscale
        self.state = box.folder / "state"
        self.socket = box.folder / "run" / "node.sock"

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "TS_SOCKET": str(self.socket),
            "TS_STATE_DIR": str(self.state),
            # By address: what runs in a box has its own network, and the machine's resolv.conf.
            "TS_LOGIN_SERVER": f"https://{self.headscale.box.v4}",
            "TS_CA_FILE": str(self.headscale.authority.certificate),
            "TS_HOSTNAME": "dev",
        }

    def run(self, *arguments, code=0, variables=None):
        """Waits until stdout and stderr are closed, as hooks do: a daemon must not keep them."""
        done = self.box.run(
            *[PILLION, *arguments],
            check=False,
            environment={
                **self.environment(),
                **(variables or {}),
            },
        )
        assert done.returncode == code, done.stdout + done.stderr + self.log()
        return done.stdout + done.stderr

    def log(self):
        path = self.state / "pillion.log"
        return path.read_text() if path.exists() else ""

    def status(self):
        return json.loads(self.run("status", "--json"))

    def links(self):
        return self.box.run("ip", "-br", "link").stdout


@pytest.fixture
def dev(lab, pillion_only):
    made = Developer(lab.box("dev"), Headscale(lab.box("control")))
    yield made
    made.run("disconnect")


def processes_that_show(secret):
    """Command lines and environments in which it can be read; ours, the test's, hold none."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                if secret.encode() in (process / name).read_bytes():
                    found.append(f"{process}/{name}")
            except OSError:
                continue  # it ended meanwhile
    return found


def test_nothing_happens_where_nothing_is_configured(dev):
    said = dev.run("connect", "--if-configured")
    assert "nothing to do" in said
    assert not dev.state.exists()
    assert "not connected" in dev.run("disconnect")


def test_connect_again_and_again(dev):
    key = dev.headscale.auth_key()
    said = dev.run("connect", variables={"TS_AUTHKEY": key})
    assert "connected as dev.tail.lab, 100.64." in said
    assert "tailscale0" in dev.links()
    assert processes_that_show(key) == []
    assert key not in dev.log()
    first = dev.status()["Self"]

    # A hook that runs at every start: with the used key, without any, with --if-configured.
    for arguments, variables in (
        (["connect"], {"TS_AUTHKEY": key}),
        (["connect"], {}),
        (["connect", "--if-configured"], {}),
    ):
        assert dev.run(*arguments, variables=variables) == "connected already\n"

    dev.run("disconnect")
    assert "tailscale0" not in dev.links()
    assert dev.box.run("ip", "rule").stdout.count("lookup") == 3
    assert "not connected" in dev.run("disconnect")

    # The login was kept, so no key is needed, and --if-configured goes on.
    assert "connected as dev.tail.lab" in dev.run("connect", "--if-configured", "--timeout=20s")
    again = dev.status()["Self"]
    assert again["TailscaleIPs"] == first["TailscaleIPs"]
    assert again["PublicKey"] == first["PublicKey"]
    assert list(dev.headscale.nodes()) == ["dev"]


def test_a_wrong_key_fails_and_the_daemon_stays_for_a_good_one(dev):
    wrong = dev.headscale.auth_key()[:-6] + "aaaaaa"
    for _ in range(2):  # refused again, without a wait
        said = dev.run("connect", "--timeout=20s", code=1, variables={"TS_AUTHKEY": wrong})
        assert "not running after" not in said
    assert "Not logged in" in dev.run("status", code=1)
    good = dev.headscale.auth_key()
    assert "connected as" in dev.run("connect", variables={"TS_AUTHKEY": good})


def test_in_the_foreground(dev):
    """It is the daemon itself, until `disconnect` or a signal; others see it as one in the back."""
    keyed = {**dev.environment(), "TS_AUTHKEY": dev.headscale.auth_key()}
    for by_signal in (False, True):
        with subprocess.Popen(
            dev.box.enter(PILLION, "connect", "--foreground"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=keyed,
        ) as process:
            try:
                wait_for(lambda: "tailscale0" in dev.links(), 20, "its interface")
                dev.run("connect", "--timeout=20s")
                assert dev.run("connect", "--if-configured") == "connected already\n"
                if by_signal:
                    process.terminate()
                else:
                    dev.run("disconnect")
                assert process.wait(15) == 0
            finally:
                process.kill()  # the end of the block waits for the process
        assert "tailscale0" not in dev.links()
        keyed = dev.environment()


def test_who_waits_is_told_for_what(dev):
    """The port is closed: the command reports this once, while it waits and not only at its end."""
    nobody = {"TS_LOGIN_SERVER": f"https://{dev.headscale.box.v4}:9", "TS_AUTHKEY": "hskey-x"}
    said = dev.run("connect", "--timeout=9s", code=1, variables=nobody)
    waiting, end = said.split("pillion connect: the node is not running after 9 seconds")
    assert waiting.count("waiting: ") == 1 and "and that it runs" in waiting
    assert "and that it runs" in end


def test_a_second_daemon_is_refused_with_the_reason(dev):
    dev.run("connect", variables={"TS_AUTHKEY": dev.headscale.auth_key()})
    other = dev.box.folder / "other.sock"
    said = dev.run("connect", "--timeout=5s", code=1, variables={"TS_SOCKET": str(other)})
    assert "is in use by another process" in said and "--statedir" in said
    assert dev.status()["BackendState"] == "Running"


# Another user with read access to all files, since the folders of this test belong to root.
AS_NOBODY = [
    *["setpriv", "--reuid=nobody", "--clear-groups"],
    *["--inh-caps=+dac_override", "--ambient-caps=+dac_override"],
]


def test_the_operator_needs_no_root(dev):
    """`set --operator` holds at once and after a restart, for that user and no other."""

    def by_nobody(*arguments):
        return dev.box.run(
            *[*AS_NOBODY, PILLION, *arguments],
            check=False,
            environment={"PATH": os.environ["PATH"], "TS_SOCKET": str(dev.socket)},
        )

    dev.run("connect", variables={"TS_AUTHKEY": dev.headscale.auth_key()})
    refused = by_nobody("set", "--shields-up")
    assert refused.returncode == 1 and "--operator=USER" in refused.stderr
    assert "/etc/passwd has no user" in dev.run("set", "--operator=nobody-has-it", code=1)
    dev.run("set", "--operator=nobody")
    assert by_nobody("set", "--shields-up").returncode == 0
    dev.run("disconnect")
    dev.run("connect")
    assert by_nobody("set", "--shields-up=false").returncode == 0
    dev.run("set", "--operator=")
    assert by_nobody("set", "--shields-up").returncode == 1
