"""Numbers for "what comes next" on the way from a frame to its TCP segment.

Owns one number space for link types, EtherTypes, IP protocols and UDP ports, so that the hot walk (`decode`) and
the rare codecs (`rare`) can hand a packet to each other with an int. A plain LINKTYPE number stands for itself.
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
RAW_OPENBSD = 14  # LINKTYPE_RAW as some systems write it
RAW_BSD = 12
PPP_HDLC = 50
RAW = 101
C_HDLC = 104
IEEE802_11 = 105
LOOP = 108
LINUX_SLL = 113
PRISM = 119
RADIOTAP = 127
AVS = 163
IPV4 = 228
IPV6 = 229
NFLOG = 239
LINUX_SLL2 = 276
