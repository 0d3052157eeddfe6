"""What serves the node: sockets, certificates, origins, probes, the console."""
