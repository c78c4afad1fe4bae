"""Records to TCP segments: where each packet's payload lies and what its headers say.

``reasons`` names why a record yields no segment; ``packets`` is what the layers hand to one another;
``link`` peels frames, ``kernels`` IP and TCP and holds ``decode``; ``filter`` asks libpcap.
"""
