"""How the unit of `pushpull.unit.functional` is computed; `routes` says by which of the ways."""
