"""Streams as this node follows them: what they capture, keep and bring."""
