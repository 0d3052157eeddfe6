"""Durable logs of publications: one interface, several stores."""
