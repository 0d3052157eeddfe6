"""One client's states, rates, and answers given before."""
