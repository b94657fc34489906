"""Numbers for "what comes next" on the way from a frame to its TCP segment.

Owns one number space for link types, EtherTypes, IP protocols and UDP ports, so that the hot walk (`decode`)
and the rare codecs (`rare`) hand a packet to each other with an int. A plain LINKTYPE number stands for itself.
"""

from __future__ import annotations

ETHERTYPE = 1 << 16  # | EtherType
IP_PROTOCOL = 2 << 16  # | IP protocol number, at the start of its header
UDP_PORT = 3 << 16  # | well-known port, at the start of the UDP payload
SPLIT_HEADER = 4 << 16  # an IP fragment that ends inside the TCP header, or begins there

# Link types, https://www.tcpdump.org/linktypes.html
NULL = 0
ETHERNET = 1
TOKEN_RING = 6
PPP = 9
FDDI = 10
RAW_BSD = 12  # LINKTYPE_RAW as some systems wrote it into files
RAW_OPENBSD = 14
PPP_HDLC = 50
PPP_ETHER = 51
ATM_RFC1483 = 100
RAW = 101
C_HDLC = 104
IEEE802_11 = 105
LOOP = 108
ENC = 109
LINUX_SLL = 113
PFLOG = 117
PRISM = 119
RADIOTAP = 127
AVS = 163
JUNIPER_ETHER = 178
PPI = 192
MPLS = 219
IPNET = 226
IPV4 = 228
IPV6 = 229
NFLOG = 239
IPOIB = 242
PKTAP = 258
LINUX_SLL2 = 276
