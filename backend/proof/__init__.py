"""Proofs of batches: the only caller of the proving half of prover."""
