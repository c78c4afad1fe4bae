"""Names of link types, for those that are not decoded (https://www.tcpdump.org/linktypes.html).

Knows: names by LINKTYPE_ number. Does not know: which of them are decoded.
Invariant: every number has a name, were it the number itself.
"""

from __future__ import annotations

from typing import Final

NAMES: Final = {
    3: "ax25", 6: "token_ring", 7: "arcnet", 8: "slip", 10: "fddi", 19: "atm_clip", 99: "symantec_firewall",
    107: "frame_relay", 114: "localtalk", 117: "pflog", 119: "prism", 122: "ip_over_fibre_channel", 123: "sunatm",
    129: "arcnet_linux", 138: "apple_ip_over_ieee1394", 140: "mtp2", 141: "mtp3", 142: "sccp", 143: "docsis",
    144: "linux_irda", 163: "802.11_avs", 165: "bacnet", 166: "ppp_pppd", 169: "gprs_llc", 177: "linux_lapd",
    187: "bluetooth_hci_h4", 189: "usb_linux", 192: "ppi", 195: "802.15.4", 196: "sita", 201: "bluetooth_hci_h4_phdr",
    202: "ax25_kiss", 203: "lapd", 209: "ipmb_linux", 215: "802.15.4_nonask_phy", 220: "usb_linux_mmapped",
    224: "fibre_channel_2", 225: "fibre_channel_2_frames", 226: "ipnet", 227: "can_socketcan", 230: "802.15.4_nofcs",
    231: "dbus", 235: "dvb_ci", 237: "stanag_5066", 240: "netanalyzer", 242: "ip_over_infiniband",
    243: "mpeg_2_ts", 247: "infiniband", 248: "sctp", 249: "usbpcap", 251: "bluetooth_le", 253: "netlink",
    254: "bluetooth_linux_monitor", 256: "bluetooth_le_phdr", 258: "pktap", 259: "epon", 265: "nordic_ble",
    266: "usb_darwin", 270: "loratap", 271: "vsock", 274: "ethernet_mpacket", 279: "opensafety", 283: "802.15.4_tap",
    288: "usb_2_0",
}  # fmt: skip


MOST_NAMED: Final = 32
"""Link types that are not read and are counted by name; a pcapng can claim 65,536, each of which would be a line."""


def link_name(number: int) -> str:
    """``usb_linux``, ``user_3`` for those left to users, ``type_300`` for others."""
    if 147 <= number <= 162:
        return f"user_{number - 147}"
    return NAMES.get(number, f"type_{number}")
