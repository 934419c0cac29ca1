# SPDX-License-Identifier: BSD-3-Clause
"""One machine on loopback, with names and files of its own, for programs that want fixed paths."""

import shlex
import subprocess

from lab.waiting import wait_for

SETUP = """
set -e
ip link set lo up
mount --bind {hosts} /etc/hosts
for folder in {folders}; do mount -t tmpfs tmpfs "$folder"; done
echo ready
exec sleep infinity
"""


class Machine:
    """Namespaces of network, mounts and processes: all in it ends with close().

    names: what /etc/hosts gives 127.0.0.1; folders: which are empty there.
    """

    def __init__(self, folder, names, folders):
        self.folder = folder
        hosts = folder / "hosts"
        hosts.write_text(f"127.0.0.1 localhost {' '.join(names)}\n")
        script = SETUP.format(hosts=shlex.quote(str(hosts)), folders=shlex.join(folders))
        self.init = subprocess.Popen(
            ["unshare", *["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]]
            + ["sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.init.stdout.readline() == "ready\n"
        # unshare's child is the first process inside.
        inside = subprocess.run(
            ["pgrep", "--parent", str(self.init.pid)], check=True, capture_output=True, text=True
        )
        self.enter = ["nsenter", f"--target={inside.stdout.strip()}", "--net", "--mount", "--pid"]

    def run(self, *arguments, stdin=None, timeout=30, check=True):
        return subprocess.run(
            [*self.enter, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )

    def put(self, path, text):
        self.run("sh", "-c", 'cat >"$1"', "sh", path, stdin=text)

    def start(self, log, *arguments):
        """A program that goes on; its output goes to a file of that name."""
        with (self.folder / log).open("wb") as output:
            return subprocess.Popen(
                [*self.enter, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_text(self, log, text, timeout=20):
        file = self.folder / log
        wait_for(lambda: text in file.read_text(), timeout, file.read_text)

    def close(self):
        self.init.kill()
        self.init.wait(10)
        self.init.stdout.close()
