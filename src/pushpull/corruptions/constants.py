"""Numbers that a corruption's form in tensors and its compiled loop share, so that both give the same bits.

They stand here because the loops import numba: the tensors' form must not import the loops, nor the loops it.
"""

# Grey levels (`grey`), in parts of a level.
FORGIVEN = 2.0**-13  # what float32 may fall short of a whole one
STEPS = 1024.0  # for sums that are to be exact
BELOW = 2.0**-11  # what is kept from a whole one that is not reached

# Exact sums (`filters`).
VALUE_GRID = 2.0**24  # steps of values per unit
TAP_BITS = 26  # taps are whole numbers of 2^-26
TAPS_PER_PASS = 4  # on each side, of the compiled loop

# Noise.
LEVEL_SLACK = 1e-3  # of a level: what the rounding of k / 255 may lack
KEEP_BITS, ALIAS_BITS = 16, 12  # a cell of the alias table: 17 bits of probability above 12 bits of column

# Blurs.
FOLD_BITS = 16  # what is folded back at the disk kernel's border is whole numbers of 2^-16
MOTION_BITS = 20  # taps are whole numbers of 2^-20
MOTION_FORGIVEN = 2.0**-10  # of a level: without it there is less white than in the published images

# Colour: means are of multiples of 2^-30.
MEAN_GRID = float(1 << 30)

# Pixelate: Pillow's 32 - 8 - 2.
FIXED_POINT_BITS = 22
