"""Metrics, structured log records, health."""
