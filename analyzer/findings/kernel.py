"""Linux settings as they are: what each does, its default, since which kernel, and what it does not do.

Owns the facts that advice quotes, each with its source, so that a number stands in one place. Kernel documentation is
`Documentation/networking/ip-sysctl.rst` and `Documentation/admin-guide/sysctl/net.rst`; [lab] was watched on Linux
6.18.
"""

from __future__ import annotations

from typing import NamedTuple

_IP_SYSCTL = "kernel documentation, networking/ip-sysctl.rst"
_NET_SYSCTL = "kernel documentation, admin-guide/sysctl/net.rst"


class Setting(NamedTuple):
    """One setting or fact. `name` is empty where no setting exists; `not_this`: what it is wrongly believed to do."""

    name: str
    default: str
    does: str
    not_this: str
    source: str

    @property
    def sentence(self) -> str:
        """As advice quotes it."""
        head = f"{self.name} (default {self.default})" if self.default else self.name
        said = " ".join(part for part in (head, self.does) if part)
        return f"{said}; {self.not_this}" if self.not_this else said


SETTINGS: dict[str, Setting] = {
    "somaxconn": Setting(
        "net.core.somaxconn",
        "4096 since Linux 5.4, 128 before",
        "caps the backlog that listen() asks for, when it is called: raise both, then restart the service",
        "",
        f"{_NET_SYSCTL}; listen(2)",
    ),
    "tcp_max_syn_backlog": Setting(
        "net.ipv4.tcp_max_syn_backlog",
        "",
        "alone does nothing: the accept backlog bounds the SYN queue as well",
        "",
        f"{_IP_SYSCTL}; tcp_conn_request() in net/ipv4/tcp_input.c [lab]",
    ),
    "tcp_abort_on_overflow": Setting(
        "net.ipv4.tcp_abort_on_overflow",
        "0",
        "only turns the wait into a reset",
        "",
        _IP_SYSCTL,
    ),
    "tcp_syncookies": Setting(
        "net.ipv4.tcp_syncookies",
        "1",
        "answers without state only while the SYN queue is full",
        "",
        f"{_IP_SYSCTL} [lab]",
    ),
    "tcp_synack_retries": Setting(
        "net.ipv4.tcp_synack_retries",
        "5",
        "keeps a half-open connection for 63 s, not 180: the last SYN+ACK goes out at 31 s; 2 or 3 frees the queue"
        " after 7 s or 15 s",
        "",
        f"{_IP_SYSCTL} [lab]",
    ),
    "tcp_syn_retries": Setting(
        "net.ipv4.tcp_syn_retries",
        "6",
        "makes a Linux client give up after 127 s, after 131 s since 6.5 (tcp_syn_linear_timeouts 4)",
        "",
        f"{_IP_SYSCTL} [lab]",
    ),
    "tcp_fin_timeout": Setting(
        "net.ipv4.tcp_fin_timeout",
        "60 s",
        "ends FIN_WAIT_2 only where the application has closed the socket",
        "it touches neither CLOSE_WAIT nor TIME_WAIT",
        f"{_IP_SYSCTL} [lab]",
    ),
    "tcp_orphan_retries": Setting(
        "net.ipv4.tcp_orphan_retries",
        "0, which means 8",
        "bounds how often the FIN of a closed socket is repeated",
        "",
        f"{_IP_SYSCTL}; tcp_orphan_retries() in net/ipv4/tcp_timer.c",
    ),
    "time_wait": Setting(
        "",
        "",
        "TIME_WAIT lasts 60 s on Linux and no setting changes that",
        "",
        "TCP_TIMEWAIT_LEN in include/net/tcp.h [lab]",
    ),
    "tcp_tw_reuse": Setting(
        "net.ipv4.tcp_tw_reuse",
        "2 since Linux 4.19: loopback only; 0 before",
        "set to 1 lets outgoing connections reuse such a port after a second; it needs time stamps",
        "it does nothing for a server's incoming ones",
        f"{_IP_SYSCTL} [lab]",
    ),
    "tcp_tw_recycle": Setting(
        "net.ipv4.tcp_tw_recycle",
        "",
        "broke clients behind NAT and is gone since Linux 4.12",
        "",
        "Linux commit 4396e46187ca (4.12)",
    ),
    "ip_local_port_range": Setting(
        "net.ipv4.ip_local_port_range",
        "32768 to 60999",
        "gives 28,232 connections to one address and port",
        "",
        _IP_SYSCTL,
    ),
    "keepalive": Setting(
        "net.ipv4.tcp_keepalive_time",
        "7200 s, then 9 probes 75 s apart",
        "counts only for sockets that set SO_KEEPALIVE",
        "",
        f"{_IP_SYSCTL}; tcp(7)",
    ),
    "tcp_retries2": Setting(
        "net.ipv4.tcp_retries2",
        "15",
        "gives data up after about 924 s; keep-alive does not run while data waits",
        "",
        _IP_SYSCTL,
    ),
    "tcp_mtu_probing": Setting(
        "net.ipv4.tcp_mtu_probing",
        "0",
        "set to 1 makes the sender try smaller segments once it suspects a black hole",
        "",
        _IP_SYSCTL,
    ),
    "tcp_fastopen": Setting(
        "net.ipv4.tcp_fastopen",
        "1: as a client",
        "is a set of bits; a Linux client stops by itself for tcp_fastopen_blackhole_timeout_sec (default 0: never"
        " since 5.14)",
        "",
        _IP_SYSCTL,
    ),
    "tcp_timestamps": Setting(
        "net.ipv4.tcp_timestamps",
        "1",
        "starts every connection's clock at random since 4.10",
        "switching it off takes away the check for old segments, and tcp_tw_reuse",
        _IP_SYSCTL,
    ),
    "tcp_invalid_ratelimit": Setting(
        "net.ipv4.tcp_invalid_ratelimit",
        "500 ms",
        "paces such answers",
        "",
        _IP_SYSCTL,
    ),
}


def advise(*words: str) -> str:
    """Advice in one paragraph: a key of SETTINGS gives its sentence, anything else stands for itself."""
    return "; ".join(SETTINGS[word].sentence if word in SETTINGS else word for word in words) + "."


def quoted(advice: str) -> list[Setting]:
    """The settings that a piece of advice quotes."""
    return [setting for setting in SETTINGS.values() if setting.sentence in advice]
