"""Wallet addresses and their homes."""
