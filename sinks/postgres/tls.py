"""Whether a connection to Postgres is encrypted, and whom it trusts: verified, unless somebody asks for less.

libpq's own default, ``sslmode=prefer``, hands user and password to whoever answers and says that it has no TLS.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

from dynaview.projections.urls import is_local

VERIFIED = "verify-full"


def tls_parameters(given: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, str]:
    """The connection parameters that TLS takes. `given` are those of the URL, `options` the declaration's ``verify``
    and ``ca_file``, which win over the URL's ``sslmode``.

    Where neither says anything, a host that is not this machine has to show a certificate that the system trusts.
    """
    verify, ca_file = options.get("verify"), options.get("ca_file")
    if verify is False:
        return {"sslmode": "require"}
    if ca_file:
        return {"sslmode": VERIFIED, "sslrootcert": str(ca_file)}
    asked = given.get("sslmode") or os.environ.get("PGSSLMODE")
    if not verify and (asked or _is_here(given)):
        return {}
    roots = given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or ssl.get_default_verify_paths().cafile
    return {"sslmode": VERIFIED, "sslrootcert": roots or "system"}


def _is_here(given: Mapping[str, Any]) -> bool:
    """Whether all hosts of these connection parameters are this machine."""
    if given.get("service") or os.environ.get("PGSERVICE"):
        return False  # its file may name any host
    named = [given.get(name) or os.environ.get(variable) for name, variable in _HOSTS]
    return all(is_local(str(hosts)) for hosts in named if hosts)


_HOSTS = (("host", "PGHOST"), ("hostaddr", "PGHOSTADDR"))
