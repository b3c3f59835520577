"""The chain: the only importer of web3 beside the signers."""
