"""Accounts: wallet addresses, their slots and their claims."""
