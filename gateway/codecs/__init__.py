"""Bytes to core commands, core events to bytes: one module per wire format."""
