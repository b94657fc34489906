"""Capture filters: tcpdump's expressions, compiled by libpcap for the kernel.

Owns the few calls of libpcap (by ctypes, as scapy makes them; importing scapy for it would cost a second) and the
program as a socket option takes it. Knows nothing about rings or frames.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from collections.abc import Sequence
from typing import Any, NamedTuple

from analyzer.errors import CaptureError, UsageError

_SO_ATTACH_FILTER = 26  # linux asm-generic/socket.h
_ERRBUF = 256  # PCAP_ERRBUF_SIZE
_RETURN = 0x06  # BPF_RET | BPF_K
_NETMASK_UNKNOWN = 0xFFFFFFFF
_DLT = {101: 12}  # where libpcap calls a link type otherwise than files do: raw IP, on Linux
_WARNINGS = 0  # pcap_activate gives 0, or a positive number where it has something to remark


class Instruction(NamedTuple):
    """One instruction of a classic BPF program (struct sock_filter)."""

    code: int
    if_true: int
    if_false: int
    value: int


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("if_true", ctypes.c_ubyte),
        ("if_false", ctypes.c_ubyte),
        ("value", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


class _SocketProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def everything(snaplen: int) -> list[Instruction]:
    """The program that lets every frame through, cut to `snaplen` bytes."""
    return [Instruction(_RETURN, 0, 0, snaplen)]


def nothing() -> list[Instruction]:
    """The program that lets no frame through."""
    return [Instruction(_RETURN, 0, 0, 0)]


def compile_filter(expression: str, linktype: int, snaplen: int, interface: str | None = None) -> list[Instruction]:
    """The program of `expression` for frames of `linktype`, cut to `snaplen` bytes.

    With `interface` it is made for frames as the kernel shows them there: it keeps VLAN tags apart from the frame.
    Raises UsageError with libpcap's words where the expression is wrong, CaptureError where there is no libpcap.
    """
    pcap = _library()
    said = ctypes.create_string_buffer(_ERRBUF)
    handle = _opened(pcap, interface, snaplen, said) if interface is not None else None
    handle = handle or pcap.pcap_open_dead(_DLT.get(linktype, linktype), snaplen)
    if not handle:
        raise CaptureError("libpcap cannot compile a filter for this interface")
    try:
        program = _Program()
        if pcap.pcap_compile(handle, ctypes.byref(program), expression.encode(), 1, _NETMASK_UNKNOWN):
            words = pcap.pcap_geterr(handle).decode("utf-8", "replace")
            raise UsageError(f"--filter {expression!r}: {words}")
        try:
            found = (program.instructions[at] for at in range(program.length))
            return [Instruction(one.code, one.if_true, one.if_false, one.value) for one in found]
        finally:
            pcap.pcap_freecode(ctypes.byref(program))
    finally:
        pcap.pcap_close(handle)


def attach(sock: socket.socket, program: Sequence[Instruction]) -> None:
    """Let the kernel filter what `sock` receives."""
    block = (_Instruction * len(program))(*(_Instruction(*one) for one in program))
    what = _SocketProgram(len(program), ctypes.addressof(block))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(what))


def _opened(pcap: Any, interface: str, snaplen: int, said: Any) -> Any:
    """libpcap's own handle of the interface; None where it does not get one."""
    handle = pcap.pcap_create(interface.encode(), said)
    if not handle:
        return None
    pcap.pcap_set_snaplen(handle, snaplen)
    if pcap.pcap_activate(handle) < _WARNINGS:
        pcap.pcap_close(handle)
        return None
    return handle


def _library() -> Any:
    name = ctypes.util.find_library("pcap") or "libpcap.so.0.8"
    try:
        pcap: Any = ctypes.CDLL(name)
    except OSError:
        raise CaptureError("--filter needs libpcap (Debian: libpcap0.8, which comes with tcpdump)") from None
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_create.restype = ctypes.c_void_p
    pcap.pcap_create.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
    pcap.pcap_set_snaplen.argtypes = [ctypes.c_void_p, ctypes.c_int]
    pcap.pcap_activate.argtypes = [ctypes.c_void_p]
    pcap.pcap_compile.argtypes = [
        *(ctypes.c_void_p, ctypes.POINTER(_Program), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint)
    ]
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_geterr.argtypes = [ctypes.c_void_p]
    pcap.pcap_freecode.argtypes = [ctypes.POINTER(_Program)]
    pcap.pcap_close.argtypes = [ctypes.c_void_p]
    return pcap
