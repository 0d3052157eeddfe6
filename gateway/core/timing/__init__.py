"""Backoff, and deadlines by the second."""
