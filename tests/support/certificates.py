"""
Certificate authorities and certificates for one test, in files as an operator has them.
"""

import ssl
from pathlib import Path

import trustme


class Authority:
    """
    A certificate authority that issues certificates for servers and clients.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self._ca = trustme.CA(organization_name=name)
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str, clients: "Authority | None" = None) -> ssl.SSLContext:
        """
        Return the TLS context of a server with these names; `clients` requires client certificates.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        if clients is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(str(clients.file))
        return context

    def client(self, certificate: Path, key: Path) -> None:
        """
        Write a client's certificate and its key, replacing existing files.
        """
        issued = self._ca.issue_cert("client.global.nomad")
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(certificate))
