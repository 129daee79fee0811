"""Open scenes when they are first asked for, and keep the most recently used ones."""

from collections import OrderedDict
from collections.abc import Callable, Mapping

from ff_jax.simulation.errors import RequestError
from ff_jax.simulation.scene import SimulatedScene


class SceneCache:
    """The scenes of a server; use it from one thread, except `scene_ids` and `loaded`.

    Attributes:
        capacity: number of scenes that are kept.
    """

    def __init__(self, openers: Mapping[str, Callable[[], SimulatedScene]], capacity: int):
        """Keep what opens each scene, by its id; nothing is opened yet."""
        self.capacity, self._openers = capacity, dict(openers)
        self._scenes: OrderedDict[str, SimulatedScene] = OrderedDict()

    @property
    def scene_ids(self) -> list[str]:
        """Return the ids of all scenes."""
        return list(self._openers)

    @property
    def loaded(self) -> list[str]:
        """Return the ids of the scenes that are open, the least recently used first."""
        return list(self._scenes)

    def get(self, scene_id: str) -> SimulatedScene:
        """Return a scene, opened if needed; the least recently used one makes room for it.

        Raises:
            RequestError: there is no such scene.
            ValueError, OSError: its run cannot be read.
        """
        if scene_id not in self._openers:
            known = ", ".join(self._openers)
            raise RequestError(f"unknown scene_id {scene_id!r}: expected one of {known}.", "NOT_FOUND")
        if scene_id not in self._scenes:
            while len(self._scenes) >= self.capacity:
                self._scenes.popitem(last=False)  # before the new one needs the memory
            self._scenes[scene_id] = self._openers[scene_id]()
        self._scenes.move_to_end(scene_id)
        return self._scenes[scene_id]
