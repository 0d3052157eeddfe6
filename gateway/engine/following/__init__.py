"""Streams followed by this node: the tail, readers behind it, reads without a subscription."""
