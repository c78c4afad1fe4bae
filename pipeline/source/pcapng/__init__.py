"""pcapng: sections of blocks.

reader          blocks to packets, window by window, over damage
blocks          which blocks are sound, and where the next one is after damage
packets         the packets in them; interfaces: their link types and clocks
"""
