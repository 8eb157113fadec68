"""Addresses and ports of this machine, for what listens on one. IPv4 only."""

from __future__ import annotations

import errno
import ipaddress
import socket

__all__ = ["EVERYWHERE", "LOOPBACK", "address_outside", "bind", "check_free"]
__all__ += ["check_host"]

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"


def check_host(host: str) -> bool:
    """Say whether only this machine can reach `host`; ValueError if it is no address.

    >>> check_host("127.0.0.1"), check_host("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        raise ValueError(
            f"host is {host!r}, expected an IPv4 address of this machine, such as "
            f"{LOOPBACK!r} for it alone or {EVERYWHERE!r} for the network"
        ) from None


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that holds a port, 0 for any free one; raises OSError if taken.

    >>> with bind("127.0.0.1", 0) as sock:
    ...     sock.getsockname()[1] > 0
    True
    """
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Linux and macOS: a port just left may be taken again at once. On Windows that
    # option would share it with a program that still uses it, and this one does not.
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)
    sock.setsockopt(socket.SOL_SOCKET, exclusive or socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except BaseException:
        sock.close()
        raise
    return sock


def check_free(host: str, port: int) -> None:
    """Raise OSError, in one sentence, if nothing new can listen on a port.

    ValueError if there is no such port. 0 stands for any free one.
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"port is {port}, expected 1 to 65535, or 0 for a free one")
    try:
        bind(host, port).close()
    except OSError as error:
        why = f"{error.strerror}; try another port or host"
        if error.errno == errno.EADDRINUSE:
            why = "it is in use; stop what listens there, or take port 0, a free one"
        raise OSError(f"port {port} of {host} cannot be had: {why}") from None


def address_outside(host: str) -> str:
    """Return the address under which others on the network find what listens on `host`.

    Raises OSError if this machine is on no network.
    """
    if host != EVERYWHERE:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:  # sends nothing: it asks which way a packet would go out
            probe.connect(("192.0.2.1", 9))
        except OSError as error:
            why = f"this machine is on no network ({error.strerror}): connect it first"
            raise OSError(why) from None
        return probe.getsockname()[0]
