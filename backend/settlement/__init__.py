"""Settlement: posting proven batches, and recording what the chain has made final."""
