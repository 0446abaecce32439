"""Runs that leave this machine: export, import, verify, diff and fork."""
