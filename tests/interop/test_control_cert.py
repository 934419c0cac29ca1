# SPDX-License-Identifier: BSD-3-Clause
"""`tailscale cert` on a stock node: its challenge goes by our server and the operator's DNS hook.

laptop: tailscale cert ──set-dns──▶ control ──hook──▶ public DNS ◀── acme (Pebble) looks it up
"""

from cryptography import x509
from lab import Acme, Control, Tailscaled


def test_a_stock_node_gets_a_certificate(lab):
    control = Control(lab.box("control"))
    acme = Acme(lab.box("acme"), control.authority)
    control.stop()
    control.start(f"--dns-hook={acme.set_record}", "--base-domain=tail.example.com")
    laptop = Tailscaled(lab.box("laptop"), control)
    laptop.start(control.auth_key(), {"TS_DEBUG_ACME_DIRECTORY_URL": acme.directory})
    laptop.wait_running()
    files = [laptop.box.folder / name for name in ("cert.pem", "key.pem")]
    name = "laptop.tail.example.com"
    laptop.cli("cert", f"--cert-file={files[0]}", f"--key-file={files[1]}", name)
    made = x509.load_pem_x509_certificate(files[0].read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [name]
    (record,) = acme.records.read_text().splitlines()
    assert record.startswith(f"_acme-challenge.{name} ")
    # Another's name it does not even ask for.
    done = laptop.cli("cert", "other.tail.example.com", check=False)
    assert done.returncode != 0
    assert len(acme.records.read_text().splitlines()) == 1
