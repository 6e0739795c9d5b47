"""Reading ahead and working behind: order, how far ahead, what fails, and that threads end."""

import threading
import time

import pytest
from style_a_video.pipelines.run.overlap import ahead, behind


class Counted:
    """A generator's worth of numbers that knows how many it gave and whether it was closed."""

    def __init__(self, count, fail_at=None):
        self.count, self.fail_at = count, fail_at
        self.given, self.closed = 0, False

    def __iter__(self):
        try:
            for i in range(self.count):
                if i == self.fail_at:
                    raise OSError(f"no {i}")
                self.given += 1
                yield i
        finally:
            self.closed = True


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def settled(value):
    """What `value` comes to stand at, for a thread that goes on beside the test."""
    last, still = value(), 0
    while still < 5:
        time.sleep(0.01)
        last, still = value(), still + 1 if value() == last else 0
    return last


@pytest.mark.parametrize("count", [1, 2, 8])
@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_everything_comes_in_order(count, length):
    source = Counted(length)
    assert list(ahead(source, count)) == list(range(length)) and source.closed
    source = Counted(length)
    assert list(behind(lambda i: 2 * i, source, count)) == [2 * i for i in range(length)]
    assert source.closed


@pytest.mark.parametrize("count", [1, 3])
def test_it_reads_a_bounded_number_ahead(count):
    source = Counted(100)
    reader = ahead(source, count)
    for taken in range(1, 5):
        next(reader)
        assert settled(lambda: source.given) == taken + count
    reader.close()
    assert source.closed and source.given <= 4 + 2 * count


def test_work_waits_in_a_bounded_queue():
    """One item in the works, one that waits, and no other is made before the first is done."""
    may = threading.Semaphore(0)
    source, finished = Counted(100), []

    def work(i):
        assert may.acquire(timeout=10)
        return i

    def consume():
        for i in behind(work, source):
            finished.append(i)
            if i == 3:
                return

    consumer = threading.Thread(target=consume)
    consumer.start()
    for done in range(4):
        assert settled(lambda: source.given) == done + 2
        may.release()
    may.release()  # the one in hand when the consumer stopped
    consumer.join(10)
    assert finished == [0, 1, 2, 3] and source.closed


def test_other_threads_do_the_work():
    here = threading.get_ident()
    made, worked = [], []

    def items():
        for i in range(3):
            made.append(threading.get_ident())
            yield i

    list(ahead(items()))
    assert here not in made
    made.clear()
    list(behind(lambda i: worked.append(threading.get_ident()), items()))
    assert set(made) == {here} and here not in worked


def test_an_error_in_the_source_comes_after_what_was_before_it():
    seen = []
    with pytest.raises(OSError, match="no 3"):
        iter_into(seen, ahead(Counted(9, fail_at=3), 4))
    assert seen == [0, 1, 2]
    seen = []
    with pytest.raises(OSError, match="no 3"):
        iter_into(seen, behind(lambda i: 2 * i, Counted(9, fail_at=3), 2))
    assert seen == [0, 2, 4]


def test_ctrl_c_in_the_source_loses_nothing_either():
    def items():
        yield from (1, 2)
        raise KeyboardInterrupt

    seen = []
    with pytest.raises(KeyboardInterrupt):
        iter_into(seen, behind(lambda i: i, items(), 4))
    assert seen == [1, 2]


def test_an_error_in_the_work_ends_it_and_closes_the_source():
    source, worked = Counted(9), []

    def work(i):
        worked.append(i)
        return 1 // (2 - i)

    seen = []
    with pytest.raises(ZeroDivisionError):
        iter_into(seen, behind(work, source))
    assert seen == [0, 1] and source.closed and max(worked) <= 3


@pytest.mark.parametrize("make", [ahead, lambda items: behind(lambda i: i, items)])
def test_an_early_stop_closes_the_source(make):
    source = Counted(9)
    stream = make(source)
    assert next(stream) == 0
    stream.close()
    assert source.closed


def test_a_list_has_nothing_to_close():
    stream = ahead([1, 2, 3])
    assert next(stream) == 1
    stream.close()


def iter_into(seen, stream):
    for item in stream:
        seen.append(item)
