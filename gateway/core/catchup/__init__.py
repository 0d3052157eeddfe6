"""Readers behind the tail of a stream, until they join the live path."""
