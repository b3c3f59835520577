"""Settlement: posting proven batches, and booking what the chain has made final."""
