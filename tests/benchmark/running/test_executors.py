"""Work is done on all items, in this process or in others, and what is shared stays together."""

import os
import signal
from functools import partial

import pytest

from benchmark.running.executors import carry_out
from samplers.errors import UserError

GROUPS = [[1, 2, 3], [4], [5, 6]]


def square(number: int) -> tuple[int, int, int]:
    return number, number**2, os.getpid()


def scale(factor: int, number: int) -> tuple[int, int]:
    return number, factor * number


def scaling(number_of_process: int) -> partial[tuple[int, int]]:
    return partial(scale, 10)


def fail(number: int) -> int:
    raise RuntimeError(f"item {number}")


@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_every_item_is_done_and_a_group_stays_in_one_process(jobs):
    found = list(carry_out(square, GROUPS, jobs))
    assert sorted(item for item, _, _ in found) == [1, 2, 3, 4, 5, 6]
    assert all(result == item**2 for item, result, _ in found)
    process = {item: pid for item, _, pid in found}
    assert process[1] == process[2] == process[3] and process[5] == process[6]
    assert (set(process.values()) == {os.getpid()}) == (jobs == 1)
    assert len(set(process.values())) <= min(jobs, len(GROUPS))


def test_serial_work_is_done_in_order_and_only_as_it_is_asked_for():
    done = []
    results = carry_out(lambda item: done.append(item) or item, GROUPS, 1)
    assert next(results) == 1 and done == [1]
    assert list(results) == [2, 3, 4, 5, 6]


def test_a_process_makes_work_that_cannot_be_sent():
    unsendable = lambda number: (number, 10 * number)  # noqa: E731
    for jobs in (1, 2):
        assert sorted(carry_out(unsendable, GROUPS, jobs, scaling)) == [(n, 10 * n) for n in range(1, 7)]


def killed_once(folder, number):
    """Item 5 kills its process the first time; item 6 always, where the folder says so."""
    flag = folder / str(number)
    if number == 5 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 6 and (folder / "always").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_process_costs_the_work_in_its_hands_alone(tmp_path, capfd):
    found = list(carry_out(partial(killed_once, tmp_path), GROUPS, 2))
    assert sorted(found) == [1, 2, 3, 4, 5, 6]
    assert "note: a process was killed; its work begins anew" in capfd.readouterr().err


def test_processes_that_are_killed_again_and_again_end_it_in_one_line(tmp_path):
    (tmp_path / "always").touch()
    with pytest.raises(UserError, match="killed again and again"):
        list(carry_out(partial(killed_once, tmp_path), GROUPS, 2))


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_error_ends_it(jobs):
    with pytest.raises(RuntimeError, match="item"):
        list(carry_out(fail, GROUPS, jobs))


def test_nothing_to_do_starts_nothing():
    assert list(carry_out(fail, [], 4)) == []
