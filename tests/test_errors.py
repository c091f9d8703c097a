"""The errors that a user can cause."""

import pickle

import pytest

from pushpull.errors import InputError, MissingFileError, choice


def test_choice_returns_what_is_allowed() -> None:
    assert choice("stem", "pp3", ("plain", "pp3")) == "pp3"
    assert choice("severity", 3, range(1, 6)) == 3


def test_choice_names_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        choice("stem", "pp33", (name for name in ("plain", "pp3")))
    assert str(caught.value) == "stem='pp33' is not one of plain, pp3; did you mean 'pp3'?"


def test_choice_guesses_nothing_far() -> None:
    with pytest.raises(InputError) as caught:
        choice("severity", 60, (1, 2))
    assert str(caught.value) == "severity=60 is not one of 1, 2"


def test_what_is_caught_as_what() -> None:
    assert issubclass(InputError, ValueError)
    assert issubclass(MissingFileError, InputError)
    assert issubclass(MissingFileError, FileNotFoundError)


def test_messages_stay_whole() -> None:
    error = MissingFileError("weights.pth does not exist")
    assert str(error) == "weights.pth does not exist"
    # Loader workers and process pools send their errors pickled.
    twin = pickle.loads(pickle.dumps(error))
    assert (type(twin), str(twin)) == (MissingFileError, str(error))


def test_a_remedy_that_stands_apart_is_replaced():
    theirs = InputError("x holds another evaluation (a; b)", remedy="--overwrite replaces it")
    assert str(theirs) == "x holds another evaluation (a; b); --overwrite replaces it"
    assert str(theirs.with_remedy("do that")) == "x holds another evaluation (a; b); do that"
    other = InputError("the loss is nan; lower optim.max_lr")
    assert other.with_remedy("do that") is other


@pytest.mark.parametrize("kind", [InputError, MissingFileError])
def test_errors_come_back_whole_from_other_processes(kind):
    error = pickle.loads(pickle.dumps(kind("a is gone", remedy="make it")))
    assert (type(error), str(error), error.problem, error.remedy) == (
        kind,
        "a is gone; make it",
        "a is gone",
        "make it",
    )
