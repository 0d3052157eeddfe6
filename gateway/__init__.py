"""A pub/sub fan-out gateway over WebSockets."""
