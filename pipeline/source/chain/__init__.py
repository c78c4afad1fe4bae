"""Captures that are a chain of records, each of which says where the next one begins: pcap and snoop.

pcap, snoop     the file headers
layout          what record headers of both look like
reader          the records, window by window, over damage
resync          where the next record begins after damage
"""
