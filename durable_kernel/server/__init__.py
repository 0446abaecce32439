"""The jupyter-server extension: what the store knows, behind the server's own auth."""
