"""Several processes of one gateway on one machine: started, watched, and ended together."""
