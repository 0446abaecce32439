"""The tests. This file keeps any other package named `tests` from hiding them; rooms have none."""
