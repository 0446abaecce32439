"""kernel: the ipykernel adapter. Imports nothing: hooks go in before IPython (see `launch`)."""
