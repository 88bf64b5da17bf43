"""Networks: modules with a forward pass and nothing else."""
