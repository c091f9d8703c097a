"""How the unit of `pushpull.functional` is computed; `routes` says by which of the ways."""
