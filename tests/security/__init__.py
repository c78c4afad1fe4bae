"""Threats, and the figure that each is held to: names, markup, terminals, links between processes, programs.

Whatever of them has tests beside the code that it concerns has them there; here is what proves a figure as a whole.
"""
