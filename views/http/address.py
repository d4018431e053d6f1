"""Where the server listens. Apart from the server, so that who serves nothing does not load what serving takes."""

from __future__ import annotations

import ipaddress
import os
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """``[HOST:]PORT``; without a host the loopback interface. Raises ValueError for anything else."""
        host, _, port = text.rpartition(":")
        if not port.isdecimal() or not 0 <= int(port) <= 65535 or (text.startswith(":") and not host):
            raise ValueError(f"{text!r} is no address: write PORT or HOST:PORT, such as 8080 or 0.0.0.0:8080")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def local_only(self) -> bool:
        """Whether nobody but this machine reaches it."""
        return is_loopback(self.host)

    def listen(self) -> socket.socket:
        """A socket that listens here. Raises `OSError` with what stands in the way and what to do."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((self.host, self.port))
            made.listen(1024)
        except OSError as error:
            made.close()
            why = os.strerror(error.errno) if error.errno else str(error)
            raise OSError(
                f"cannot listen on {self.host}:{self.port}: {why}; give --http another port or host"
            ) from None
        return made


def is_loopback(host: str) -> bool:
    """Whether a host names this machine only."""
    name = host.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
