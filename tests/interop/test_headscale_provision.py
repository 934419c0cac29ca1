# SPDX-License-Identifier: BSD-3-Clause
"""`pillion headscale provision` against a real Headscale: one user an account, one key a device."""

import hashlib
import json
import stat
import subprocess

import pytest
from lab import Headscale
from lab.build import build_folder

ACCOUNT = "alice@example.com"


@pytest.fixture
def headscale(lab):
    return Headscale(lab.box("control"))


@pytest.fixture
def box(lab):
    """Where the command runs."""
    return lab.box("laptop")


class Provision:
    """The command, as the device `device` runs it."""

    def __init__(self, headscale, box, device="laptop"):
        self.headscale = headscale
        self.box = box
        self.device = device
        self.folder = self.box.folder / f"keys-{device}"
        self.api_key = self.box.folder / "api-key"
        self.api_key.write_text(headscale.cli("apikeys", "create"))

    def run(self, *flags, account=ACCOUNT, check=True):
        arguments = [
            *[build_folder() / "pillion", "headscale", "provision"],
            *["--url", self.headscale.url, "--api-key", f"file:{self.api_key}"],
            *["--account", account, "--device", self.device, "--state", self.folder],
            *["--ca-file", self.headscale.authority.certificate, *flags],
        ]
        done = subprocess.run(
            self.box.container_command([str(argument) for argument in arguments]),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    def key(self, *flags, **named):
        answer = json.loads(self.run(*flags, **named).stdout)
        assert answer["url"] == self.headscale.url
        return answer["key"]

    def file(self):
        (path,) = self.folder.iterdir()
        return path


def listed(headscale, key):
    """Headscale's entry of a key; it shows only the prefix of the secret."""
    (entry,) = (
        entry
        for entry in headscale.cli("preauthkeys", "list")
        if key.startswith(entry["key"].split("***")[0])
    )
    return entry


def users(headscale):
    return [user["name"] for user in headscale.cli("users", "list") if user["name"] != "lab"]


def test_is_idempotent_and_its_key_joins(headscale, box):
    device = Provision(headscale, box)
    key = device.key()
    assert users(headscale) == ["ss-" + hashlib.sha256(ACCOUNT.encode()).hexdigest()]
    assert stat.S_IMODE(device.file().stat().st_mode) == 0o600
    assert device.key() == key
    assert len(headscale.cli("preauthkeys", "list")) == 1
    assert listed(headscale, key)["reusable"]
    # Another device of the account: the same user, another key.
    other = Provision(headscale, box, "phone").key()
    assert other != key
    assert len(users(headscale)) == 1
    # And another account: a user of its own.
    Provision(headscale, box, "desk").key(account="bob")
    assert len(users(headscale)) == 2


def test_a_lost_or_ending_key_is_replaced_and_the_old_one_expired(headscale, box):
    device = Provision(headscale, box)
    ending = device.key("--key-lifetime", "2h")
    # Two hours are less than a quarter of the ninety days that are wanted now.
    fresh = device.key()
    assert fresh != ending
    headscale_time = listed(headscale, fresh)["created_at"]["seconds"]
    assert listed(headscale, ending)["expiration"]["seconds"] <= headscale_time + 5
    # Expired by an operator.
    headscale.cli("preauthkeys", "expire", "--id", str(listed(headscale, fresh)["id"]))
    third = device.key()
    assert third not in (fresh, ending)
    # Lost, or not to be read.
    device.file().write_text("{")
    assert device.key() not in (third, fresh, ending)
    device.file().unlink()
    assert device.key() not in (third, fresh, ending)


def test_failures_leave_what_there_is(headscale, box):
    device = Provision(headscale, box)
    key = device.key()
    right = device.api_key.read_text()
    # The API key is wrong: the kept key goes on, with a warning.
    device.api_key.write_text("hskey-api-wrong")
    done = device.run()
    assert json.loads(done.stdout)["key"] == key
    assert "refuses the API key" in done.stderr
    # No server answers.
    device.api_key.write_text(right)
    headscale.stop()
    done = device.run()
    assert json.loads(done.stdout)["key"] == key
    assert "continuing with the existing key" in done.stderr
    # Without a kept key there is nothing to go on with.
    device.file().unlink()
    done = device.run(check=False)
    assert done.returncode == 1
    assert not done.stdout.strip()
    # Nothing is lost: all is well when it is back.
    headscale.start()
    assert device.key()
    assert len(users(headscale)) == 1
