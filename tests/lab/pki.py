# SPDX-License-Identifier: BSD-3-Clause
"""A private certificate authority, by openssl."""

import subprocess
from pathlib import Path


def _openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


class Authority:
    """ca.pem in its folder is what programs have to trust."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate = self.folder / "ca.pem"
        self._key = self.folder / "ca.key"
        _openssl(
            *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            *["-keyout", self._key, "-out", self.certificate, "-days", "30"],
            *["-subj", "/CN=pillion lab CA", "-addext", "keyUsage=critical,keyCertSign"],
        )

    def issue(self, name, *addresses):
        """A certificate for a DNS name and IP addresses; (certificate file, key file)."""
        stem = self.folder / name
        key, request, certificate = (stem.with_suffix(s) for s in (".key", ".csr", ".pem"))
        names = ",".join([f"DNS:{name}", *(f"IP:{address}" for address in addresses)])
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth\n")
        _openssl(
            *["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            *["-keyout", key, "-out", request, "-subj", f"/CN={name}"],
        )
        _openssl(
            *["x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self._key],
            *["-CAcreateserial", "-days", "30", "-extfile", extensions, "-out", certificate],
        )
        return certificate, key
