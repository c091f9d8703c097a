"""What random words are made of: numbers that `Draws` and its compiled loops share."""

GOLDEN = 0x9E3779B9 - (1 << 32)  # 2**32 / golden ratio, odd: spreads consecutive counters
ODD = 0x846CA68B - (1 << 32)  # of Wellons' "lowbias32"
MAGNITUDE = 0x7FFFFFFF  # all bits of a word but the sign
SEGMENT_BITS = 6  # of a float's mantissa name a segment of `Draws.normal`, the others a place in it
PART_BITS = 23 - SEGMENT_BITS
FIRST_SEGMENT = 126 << SEGMENT_BITS  # of the float 0.5
BITS = 23  # of a word that become a number: then (k + 1/2) / 2**23 is exact in float32, and under 1
