# SPDX-License-Identifier: BSD-3-Clause
"""A server of which a file was lost: never taken for a first start, and never made anew in silence."""

import subprocess

import pytest
from lab.loopback_control import LoopbackControl


@pytest.fixture
def complete(tmp_path):
    """A server with all files of its own, which has ended."""
    made = LoopbackControl(tmp_path, tls=True, relay=True)
    made.start()
    assert made.stop() == 0
    yield made
    made.end()


@pytest.mark.parametrize(
    "name",
    ["control.db", "ca.pem", "ca.key", "relay/relay.key", "relay/relay.crt", "relay/relay.pem"],
)
def test_an_empty_file_is_not_replaced(complete, name):
    file = complete.state / name
    whole = file.read_bytes()
    file.write_bytes(b"")
    complete.begin()
    assert complete.process.wait(20) != 0
    assert file.name in complete.log.read_text().splitlines()[-1]
    assert file.read_bytes() == b""
    file.write_bytes(whole)
    complete.start()


def test_a_lost_certificate_of_the_authority(complete, tmp_path):
    """Made anew with the key that is there, so that nodes which trust the old one go on."""
    old = tmp_path / "old.pem"
    (complete.state / "ca.pem").rename(old)
    complete.start()
    assert (complete.state / "ca.pem").read_bytes() != old.read_bytes()
    complete.ca = old
    assert complete.healthy()
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", old, complete.state / "server.pem"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_lost_key_of_the_authority(complete):
    (complete.state / "ca.key").unlink()
    complete.begin()
    assert complete.process.wait(20) != 0
    assert "can't be used together" in complete.log.read_text()
