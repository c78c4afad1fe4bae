"""Records to TCP segments: where each packet's payload lies and what its headers say.

``reasons`` names why a record yields no segment; ``packets`` is what the layers hand to one another. In the order
of a frame: ``link`` and ``wireless`` read link headers, ``shims`` what stands between them and IP, ``ip`` IP,
``tunnels`` what carries another packet behind it; ``kernels`` goes from layer to layer, reads TCP, and holds
``decode``. ``linknames`` are those of link types that are not read; ``checksums`` are asked only when they are to be
verified; ``filter`` asks libpcap.
"""
