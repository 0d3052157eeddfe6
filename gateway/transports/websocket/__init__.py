"""WebSockets: the handshake, frames in, frames out."""
