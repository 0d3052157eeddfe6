"""What a node's figures were over the last minutes, how they are told apart and added up."""
