"""Rights given up once the socket is open: who reads packets from anyone needs no root for it.

Owns the change of user. Knows nothing about what it is done for.
"""

from __future__ import annotations

import os

from analyzer.errors import CaptureError, UsageError


def user_to_become(named: str | None) -> tuple[int, int, str] | None:
    """User, group and name to go on as: the one named, else who called sudo; None to stay.

    Raises UsageError where there is no such user, CaptureError where this process may not become another.
    """
    if not hasattr(os, "geteuid"):
        return None
    if named is None:
        uid, gid = os.environ.get("SUDO_UID", ""), os.environ.get("SUDO_GID", "")
        if os.geteuid() != 0 or not uid.isdecimal() or not gid.isdecimal() or uid == "0":
            return None
        return int(uid), int(gid), os.environ.get("SUDO_USER", uid)
    import pwd

    try:
        entry = pwd.getpwuid(int(named)) if named.isdecimal() else pwd.getpwnam(named)
    except KeyError:
        raise UsageError(f"--user {named}: there is no such user") from None
    if entry.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise CaptureError(f"only root can go on as {entry.pw_name}")
    return entry.pw_uid, entry.pw_gid, entry.pw_name


def prepare() -> None:
    """Import all that a live capture may need: who one goes on as may not be able to read where Python is installed."""
    import pkgutil
    from importlib import import_module

    import analyzer

    for library in ("datetime", "numpy", "psutil", "textwrap"):
        import_module(library)
    for module in pkgutil.walk_packages(analyzer.__path__, "analyzer."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def become(user: tuple[int, int, str]) -> None:
    """Go on as that user, for good; all threads with it. Raises CaptureError where the system refuses."""
    uid, gid, name = user
    prepare()
    try:
        try:
            os.initgroups(name, gid)
        except (OSError, KeyError):
            os.setgroups([gid])
        os.setgid(gid)
        os.setuid(uid)
    except OSError as error:
        raise CaptureError(f"cannot go on as {name}: {error.strerror}") from None
    if os.getuid() != uid or os.geteuid() != uid:
        raise CaptureError(f"cannot go on as {name}")
