"""Cache for expensive immutable values; concurrent requests for one key compute it once."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Event, Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlightCache(Generic[K, V]):
    """Thread-safe LRU cache of at most `size` values."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: OrderedDict[K, V] = OrderedDict()
        self._making: dict[K, Event] = {}
        self._lock = Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """The value of `key`, computed by `make` if the cache does not hold it.

        If several threads ask for one key, one computes it and the others wait. An exception of
        `make` reaches the thread that called it; a waiting thread then calls its own `make`.
        """
        while True:
            with self._lock:
                if key in self._values:
                    self._values.move_to_end(key)
                    return self._values[key]
                if (made := self._making.get(key)) is None:
                    self._making[key] = made = Event()
                    break
            made.wait()
        try:
            value = make()
            with self._lock:
                self._values[key] = value
                while len(self._values) > self._size:
                    self._values.popitem(last=False)
            return value
        finally:
            with self._lock:
                del self._making[key]
            made.set()
