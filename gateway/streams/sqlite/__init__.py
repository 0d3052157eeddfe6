"""Streams of one node, kept in a SQLite file."""
