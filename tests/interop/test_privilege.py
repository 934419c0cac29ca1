# SPDX-License-Identifier: BSD-3-Clause
"""The engine has no privilege before it speaks to the network, in both modes of dropping it."""

import re

import pytest
from lab import Pillion

# Docker's default set, and NET_ADMIN as compose files add it.
DOCKER = (
    "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,"
    "net_raw,sys_chroot,mknod,audit_write,setfcap,net_admin"
)

MODES = {
    # name: (capabilities of the container, whether the engine has a user of its own)
    "split-user": (DOCKER, True),
    "same-user": ("net_admin", False),
}


@pytest.fixture
def node(world, pillion_only, request):
    capabilities, _ = MODES[request.param]
    world.sidecar = Pillion(world.sidecar.box, world.headscale, capabilities=capabilities)
    world.sidecar.join()
    world.fetch_both_ways()
    return world.sidecar


def status_fields(path):
    return dict(re.findall(r"^(\w+):\s+(.*)$", (path / "status").read_text(), re.MULTILINE))


@pytest.mark.parametrize(("node", "mode"), [(m, m) for m in MODES], indirect=["node"])
def test_every_thread_of_the_engine_has_nothing(node, mode):
    threads = node.threads_of_engine()
    assert threads
    for thread in threads:
        fields = status_fields(thread)
        for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(fields[name], 16) == 0, (thread, name)
        assert fields["Seccomp"] == "2", thread
        assert fields["NoNewPrivs"] == "1", thread
        uid = fields["Uid"].split()
        assert len(set(uid)) == 1
        assert (uid[0] != "0") == MODES[mode][1]


@pytest.mark.parametrize("node", ["same-user"], indirect=True)
def test_the_supervisor_has_what_it_was_given(node):
    """NET_ADMIN alone is enough for all of it."""
    fields = status_fields(node.threads_of_engine()[0].parents[2] / str(node.supervisor_pid()))
    assert int(fields["CapEff"], 16) == 1 << 12
