"""Linux settings as they are: default, since which kernel, what each does and does not do.

Owns the facts that advice quotes, so that a number stands in one place. Sources: Documentation/networking/
ip-sysctl.rst, Documentation/admin-guide/sysctl/net.rst, tcp(7), listen(2), and kernels watched at work.
"""

from __future__ import annotations

SETTINGS: dict[str, str] = {
    "somaxconn": "net.core.somaxconn (default 4096 since Linux 5.4, 128 before) caps the backlog that listen() asks"
    " for, when it is called: raise both, then restart the service",
    "tcp_max_syn_backlog": "net.ipv4.tcp_max_syn_backlog alone does nothing: the accept backlog bounds the SYN queue"
    " as well",
    "tcp_abort_on_overflow": "net.ipv4.tcp_abort_on_overflow (default 0) only turns the wait into a reset",
    "tcp_syncookies": "net.ipv4.tcp_syncookies (default 1) answers without state only while the SYN queue is full",
    "tcp_synack_retries": "net.ipv4.tcp_synack_retries (default 5) keeps a half-open connection for 63 s: the last"
    " SYN+ACK goes out at 31 s; 2 or 3 frees the queue after 7 s or 15 s",
    "tcp_syn_retries": "a Linux client gives up after 127 s (net.ipv4.tcp_syn_retries 6), after 131 s since 6.5"
    " (tcp_syn_linear_timeouts 4)",
    "tcp_fin_timeout": "net.ipv4.tcp_fin_timeout (default 60 s) ends FIN_WAIT_2 only where the application has closed"
    " the socket, and touches neither CLOSE_WAIT nor TIME_WAIT",
    "tcp_orphan_retries": "net.ipv4.tcp_orphan_retries (default 0, which means 8) bounds how often the FIN of a closed"
    " socket is repeated",
    "time_wait": "TIME_WAIT lasts 60 s on Linux and no setting changes that",
    "tcp_tw_reuse": "net.ipv4.tcp_tw_reuse=1 (default 2 since 4.19: loopback only) lets outgoing connections reuse such"
    " a port after a second; it needs time stamps and does nothing for a server's incoming ones",
    "tcp_tw_recycle": "net.ipv4.tcp_tw_recycle broke clients behind NAT and is gone since Linux 4.12",
    "ip_local_port_range": "net.ipv4.ip_local_port_range (default 32768 to 60999) gives 28,232 connections to one"
    " address and port",
    "keepalive": "net.ipv4.tcp_keepalive_time (default 7200 s) counts only for sockets that set SO_KEEPALIVE",
    "tcp_invalid_ratelimit": "net.ipv4.tcp_invalid_ratelimit (default 500 ms) paces such answers",
}


def advise(*words: str) -> str:
    """Advice in one paragraph: a key of SETTINGS gives its text, anything else stands for itself."""
    return "; ".join(SETTINGS.get(word, word) for word in words) + "."
