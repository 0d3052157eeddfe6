"""The HTTP protocol: requests and responses on a transport, bounded on both sides."""
