# SPDX-License-Identifier: BSD-3-Clause
"""The library that encrypts packets: chosen by name, named in the status, one speaks with another."""

import ctypes.util

import pytest
from lab.build import build_folder
from lab.waiting import wait_for

LIBRARY = "libIPSec_MB.so.1"


def machine_has_ipsec_mb():
    with open("/proc/cpuinfo", encoding="ascii") as cpuinfo:
        avx512 = " avx512f " in cpuinfo.read()
    return avx512 and ctypes.util.find_library("IPSec_MB") is not None


def best():
    return "ipsec-mb" if machine_has_ipsec_mb() else "openssl"


def maps_library(node):
    with open(f"/proc/{node.engine_pid()}/maps", encoding="ascii") as maps:
        return LIBRARY in maps.read()


def test_each_engine_carries_packets(world):
    """A peer with the best engine reaches a node with each of them, also after its engine died."""
    world.sidecar.join()
    world.fetch_both_ways()
    assert world.sidecar.status()["AEAD"] == best()
    assert f"Encryption of packets: {best()}" in world.sidecar.pillion("status").stdout
    for name in ("libsodium", "openssl", "ipsec-mb"):
        world.sidecar.stop()
        world.sidecar.start(environment={"PILLION_AEAD": name})
        world.sidecar.wait_running(30)
        expected = best() if name == "ipsec-mb" else name
        assert world.sidecar.status()["AEAD"] == expected
        assert maps_library(world.sidecar) == (expected == "ipsec-mb")
        world.fetch_both_ways()
    dead = world.sidecar.engine_pid()
    world.sidecar.kill_engine()
    wait_for(lambda: world.sidecar.engine_pid() not in (None, dead), 20, "a new engine")
    world.sidecar.wait_running(30)
    assert world.sidecar.status()["AEAD"] == expected
    world.fetch_both_ways()


@pytest.mark.parametrize("value", ["OpenSSL", "aes", "ipsec-mb,openssl"])
def test_an_unknown_name_is_refused(lab, value):
    box = lab.box("node")
    done = box.run(
        str(build_folder() / "pillion"),
        "daemon",
        "--state=mem:",
        check=False,
        environment={"PILLION_AEAD": value},
    )
    assert done.returncode == 2
    assert f"PILLION_AEAD={value} is unknown" in done.stderr
    assert "ipsec-mb, openssl or libsodium" in done.stderr
