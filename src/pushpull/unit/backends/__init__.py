"""How the unit is computed: as plain operations, on the CPU by parts of the batch, on a GPU by kernels."""
