"""From captured frames to TCP segments.

Decodes without judging: what a segment means is `analyzer.tcp`'s concern.
"""
