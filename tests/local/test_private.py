"""What local servers hold is for their owner alone: not for the network, not for other users' eyes."""

from __future__ import annotations

import ipaddress
import os
import stat
import sys
from pathlib import Path

import pytest

from dynaview.local import private, servers
from dynaview.local.errors import LocalServerError
from tests.support.processes import Mark

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listening(pid: int) -> set[Address]:
    """The addresses of all TCP sockets on which a process listens."""
    sockets = {str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()}
    found = set()
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                found.add(address(fields[1].partition(":")[0]))
    return found


def address(text: str) -> Address:
    """What /proc/net writes as groups of four bytes, each in the machine's order."""
    found = ipaddress.ip_address(b"".join(bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)))
    return getattr(found, "ipv4_mapped", None) or found


def for_others(folder: Path) -> list[str]:
    """What in the folder, itself included, another user than its owner may read, write or enter."""
    paths = [path for path in (folder, *folder.rglob("*")) if not path.is_symlink()]
    return [str(path) for path in paths if not stat.S_ISSOCK(path.stat().st_mode) and path.stat().st_mode & 0o077]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.usefixtures("archives")
def test_all_servers_are_for_this_machine_and_this_user_alone(tmp_path: Path, mark: Mark) -> None:
    before = os.umask(0o022)
    try:
        with servers.started(servers.NAMES, tmp_path / "servers") as running:
            heard = [listening(pid) for pid in mark.processes()]
            assert running.keys() == set(servers.NAMES)
            open_to_others = [each for server in running.values() for each in for_others(server.directory)]
    finally:
        os.umask(before)
    assert sum(bool(each) for each in heard) == 3  # PostgreSQL has a socket file only
    assert [str(each) for each in set().union(*heard) if not each.is_loopback] == []
    assert open_to_others == []


def test_a_listener_on_every_interface_would_be_seen() -> None:
    everywhere = ("00000000", "00000000000000000000000000000000")
    here = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")
    assert [str(address(each)) for each in everywhere] == ["0.0.0.0", "::"]
    assert [str(address(each)) for each in here] == ["127.0.0.1", "127.0.0.1", "::1"]
    assert [address(each).is_loopback for each in (*everywhere, *here)] == [False, False, True, True, True]


def test_folders_and_files_of_earlier_runs_are_closed(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o755)
    (folder / "log").write_text("before\n")
    (folder / "log").chmod(0o644)
    with private.opened(private.folder(folder) / "log", "a") as log:
        log.write("after\n")
    assert for_others(folder) == []
    assert (folder / "log").read_text() == "before\nafter\n"
    with private.opened(folder / "log", "w"):
        pass
    assert (folder / "log").read_text() == ""


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocalServerError, match=r"file/data cannot be written .* choose another with --dir"):
        private.folder(tmp_path / "file" / "data")
