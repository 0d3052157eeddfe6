"""Streams that all nodes share, kept in Redis Streams."""
