"""Bytes in to the session, frames out through a sink."""
