"""Statistical tests of random numbers, as p-values; small and obvious, for `test_random.py` to apply.

Sequences are 1-d integer tensors of `BITS`-bit words, rows of matrices are sequences. Where the numbers are
independent and uniform, every p-value is (nearly) uniform in [0, 1]; near 0 is too uneven, near 1 too even.
"""

import math

import numpy as np
import torch
from scipy import stats
from torch import Tensor

BITS = 23
LEVEL = 1e-5
"""Chance that one assertion blames a perfect generator; the keys are fixed, so a test passes or fails for
good. About 500 assertions are made: a perfect generator has a chance of 0.5 % to be blamed by any."""


def assert_plausible(pvalues: dict[str, float], level: float = LEVEL) -> None:
    """Assert that none of the p-values is in either tail, at `level` for all of them together."""
    bound = level / (2 * len(pvalues))
    bad = {name: p for name, p in pvalues.items() if not bound < p < 1 - bound}
    assert not bad, f"p-values outside {bound:.1e}..1-{bound:.1e}: {bad}"


def words(uniform: Tensor) -> Tensor:
    """Return k of the values (k + 1/2) / 2**23."""
    return (uniform.double() * 2**BITS).floor().long()


def evenness(sequence: Tensor, bins: int) -> float:
    """Chi-square of the histogram of values in 0 .. bins - 1."""
    return float(stats.chisquare(np.bincount(sequence.numpy(), minlength=bins)).pvalue)


def tuples(sequence: Tensor, size: int, bits: int, drop: int) -> float:
    """Chi-square of non-overlapping `size`-tuples, of `bits` bits of each word above the lowest `drop`."""
    cell = (sequence >> drop) & (2**bits - 1)
    cell = cell[: len(cell) // size * size].view(-1, size)
    return evenness((cell << (bits * torch.arange(size))).sum(1), 2 ** (bits * size))


def signs(sequence: Tensor) -> Tensor:
    """Return (BITS, n): each bit as -1 or 1; float32 sums them without error up to 2**24."""
    narrow = sequence.to(torch.int32)
    return torch.stack([((narrow >> bit) & 1).float() for bit in range(BITS)]).mul_(2).sub_(1)


def bit_balance(sequence: Tensor) -> float:
    """Chi-square of the 23 bits' numbers of ones."""
    return _chi_square(signs(sequence).sum(1), len(sequence))


def bit_pairs(first: Tensor, second: Tensor) -> float:
    """Chi-square of all 23 x 23 correlations between a bit of one sequence and a bit of the other."""
    return _chi_square(signs(first) @ signs(second).T, len(first))


def bits_in_place(sequence: Tensor, lags: tuple[int, ...]) -> dict[str, float]:
    """p-values of the bits' balance, of their correlations within a word, and of those of words apart."""
    bits, n = signs(sequence), len(sequence)
    within = (bits @ bits.T)[*torch.triu_indices(BITS, BITS, 1)]
    found = {"bit balance": _chi_square(bits.sum(1), n), "bits within a word": _chi_square(within, n)}
    for lag in lags:
        found[f"bits of words {lag} apart"] = _chi_square(bits[:, lag:] @ bits[:, :-lag].T, n - lag)
    return found


def _chi_square(sums: Tensor, count: int) -> float:
    """p-value of sums of `count` signs each."""
    return float(stats.chi2.sf(sums.double().square().sum().item() / count, sums.numel()))


def centred(sequence: Tensor) -> Tensor:
    """Return the values moved and scaled to mean 0 and variance 1."""
    return ((sequence.double() + 0.5) * 2.0**-BITS - 0.5) * math.sqrt(12)


def correlations(first: Tensor, second: Tensor) -> dict[str, float]:
    """p-values of the correlation of two sequences, and of that of their squares' deviations."""
    x, y = centred(first), centred(second)
    squares = (x.square() - 1) @ (y.square() - 1) / 0.8
    return {
        "values": _normal((x @ y).item() / math.sqrt(len(x))),
        "squares": _normal(squares.item() / math.sqrt(len(x))),
    }


def _normal(z: float) -> float:
    """p-value of a standard normal."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def serial(sequence: Tensor, lags: tuple[int, ...]) -> dict[str, float]:
    """p-values of `correlations` of a sequence with itself `lag` later."""
    values = centred(sequence)
    squares = (values.square() - 1) / math.sqrt(0.8)
    return {
        f"lag {lag}, {name}": _normal((x[lag:] @ x[:-lag]).item() / math.sqrt(len(x) - lag))
        for name, x in (("values", values), ("squares", squares))
        for lag in lags
    }


def every_pair(matrix: Tensor) -> dict[str, float]:
    """p-values of the correlations of each row with each other row: of the mean square and the largest.

    n r^2 of k rows of n values has the mean 1 and the variance 2 (1 + small); the squares of k (k - 1) / 2
    pairs are uncorrelated, so that their mean is nearly normal.
    """
    x = centred(matrix)
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    z = (x @ x.T)[*torch.triu_indices(len(x), len(x), 1)] / math.sqrt(x.shape[1] - 1)
    spread = (z.square().mean().item() - 1) / math.sqrt(2 / len(z))
    return {"mean square": _normal(spread), "largest": largest(z)}


def every_shift(first: Tensor, second: Tensor) -> float:
    """p-value of the largest of the cyclic cross-correlations of two sequences, over all shifts."""
    spectra = torch.fft.rfft(centred(first)) * torch.fft.rfft(centred(second)).conj()
    return largest(torch.fft.irfft(spectra, n=len(first)) / math.sqrt(len(first)))


def largest(z: Tensor) -> float:
    """p-value of the largest |z| of independent standard normals."""
    return float(-np.expm1(z.numel() * np.log1p(-2 * stats.norm.sf(z.abs().max().item()))))


def collisions(sequence: Tensor) -> float:
    """p-value of the number of repeated values among n in 2**23, nearly normal for n * n / 2**24 > 100."""
    n, cells = len(sequence), 2.0**BITS
    empty = math.exp(n * math.log1p(-1 / cells))
    two_empty = math.exp(n * math.log1p(-2 / cells))
    variance = cells * (cells - 1) * two_empty + cells * empty - (cells * empty) ** 2
    repeated = n - len(sequence.unique())
    return _normal((repeated - (n - cells * (1 - empty))) / math.sqrt(variance))


def birthday_spacings(sequence: Tensor, days: int = 512) -> float:
    """Marsaglia's test: of `days` birthdays in 2**23, equal spacings are Poisson of days^3 / (4 * 2**23)."""
    years = sequence[: len(sequence) // days * days].view(-1, days).sort(1).values
    spacings = years.diff(dim=1).sort(1).values
    equal = int((spacings.diff(dim=1) == 0).sum())
    mean = len(years) * days**3 / (4.0 * 2**BITS)
    return _normal((equal - mean) / math.sqrt(mean))


def ranks(sequence: Tensor, bit: int) -> float:
    """Chi-square of the ranks over GF(2) of 32 x 32 matrices made of one bit of successive words."""
    bits = ((sequence >> bit) & 1)[: len(sequence) // 1024 * 1024].view(-1, 32, 32)
    rows = (bits << torch.arange(32)).sum(2).tolist()
    found = np.bincount([min(32 - _rank(matrix), 2) for matrix in rows], minlength=3)
    full, one_less = 0.288788, 0.577576  # share of full rank, of rank 31, in large random matrices
    expected = np.array([full, one_less, 1 - full - one_less]) * len(rows)
    return float(stats.chisquare(found, expected).pvalue)


def _rank(rows: list[int]) -> int:
    basis: list[int] = []
    for row in rows:
        for known in basis:
            row = min(row, row ^ known)
        if row:
            basis.append(row)
    return len(basis)


def battery(sequence: Tensor) -> dict[str, float]:
    """p-values of the tests of one sequence; wants at least 2**12 words."""
    n = len(sequence)
    lags = tuple(lag for lag in (1, 2, 3, 7, 16, 32, 64, 224, 256, 1024, 4096) if lag <= n // 4)
    found = {
        "kolmogorov-smirnov": float(stats.kstest((sequence.numpy() + 0.5) / 2**BITS, "uniform").pvalue),
        "rank, lowest bit": ranks(sequence, 0) if n >= 2**17 else 0.5,
        "rank, highest bit": ranks(sequence, BITS - 1) if n >= 2**17 else 0.5,
    }
    for bits in (8, 10, 12):
        if n >= 8 * 2**bits:
            found[f"highest {bits} bits"] = evenness(sequence >> (BITS - bits), 2**bits)
            found[f"lowest {bits} bits"] = evenness(sequence & (2**bits - 1), 2**bits)
    for size, bits in ((2, 4), (2, 6), (3, 4), (4, 3)):
        if n >= 8 * size * 2 ** (size * bits):
            found[f"{size}-tuples, high"] = tuples(sequence, size, bits, BITS - bits)
            found[f"{size}-tuples, low"] = tuples(sequence, size, bits, 0)
    if n >= 2**17:
        found["collisions"] = collisions(sequence)
        found["birthday spacings"] = birthday_spacings(sequence)
    return found | bits_in_place(sequence, (1, 2)) | serial(sequence, lags)
