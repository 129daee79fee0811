"""Data types of the synthetic street: all arrays, so that another seed has the same shapes.

World frame: the first ego pose; x forward, y left, z up, meters; the roadway is the plane z = 0.
Street coordinates: `s` meters along the ego lane center, `n` meters to its left (the lane center is an arc).
"""

import dataclasses

from flax import struct
from jax import Array
from jaxtyping import Bool, Float, Int

from ff_jax.runtime.settings import Settings, bounded

# Kinds of primitive, in storage order.
BOX, CYLINDER, ELLIPSOID, PANEL = range(4)

# Materials; the ground has none because its albedo depends on the position alone.
(FACADE, ROOF, PAINT, CABIN, TIRE, FOLIAGE, BARK, METAL, SIGN, PLAIN, LAMP) = range(11)

VEHICLE_CLASSES = ("car", "van", "bus", "truck")


@dataclasses.dataclass(frozen=True)
class Capacities(Settings):
    """Number of slots per kind of primitive; streets of equal capacities share compiled programs."""

    boxes: int = bounded(640, 1, 1_000_000)
    cylinders: int = bounded(352, 1, 1_000_000)
    ellipsoids: int = bounded(512, 1, 1_000_000)
    panels: int = bounded(128, 1, 1_000_000)

    def counts(self) -> tuple[int, int, int, int]:
        """List the slots per kind in the order BOX, CYLINDER, ELLIPSOID, PANEL."""
        return (self.boxes, self.cylinders, self.ellipsoids, self.panels)


@dataclasses.dataclass(frozen=True)
class StreetConfig(Settings):
    """Settings of a street, of the drive through it, and of the log's images.

    The ego vehicle drives in the right lane. No vehicle stands or drives within `clear_left` meters to the left and
    `clear_right` meters to the right of its path (except far ahead), so a shifted camera stays in free space.
    """

    num_frames: int = bounded(24, 1, 100_000)
    frame_rate: float = bounded(10.0, 1e-3, 1e3)  # frames per second
    speed: float = bounded(11.0, 0.0, 100.0)  # meters per second: 1.1 m between frames
    moving: bool = True  # False: only the ego vehicle moves
    num_moving: int = bounded(3, 0, 1000)
    num_parked: int = bounded(24, 0, 10_000)
    # meters from the first pose to the nearest vehicle driving ahead
    lead_gap: tuple[float, float] = bounded((32.0, 45.0), 0.0, 1e3)
    clear_left: float = bounded(6.5, 0.0, 100.0)  # meters
    clear_right: float = bounded(3.5, 0.0, 100.0)  # meters
    lane_width: float = bounded(3.4, 0.5, 50.0)  # meters
    max_curvature: float = bounded(0.0012, 0.0, 0.05)  # 1/meters
    behind: float = bounded(50.0, 0.0, 1e4)  # meters of street behind the first pose
    ahead: float = bounded(190.0, 1.0, 1e4)  # meters of street ahead of the first pose
    camera_height: float = bounded(1.55, 0.1, 100.0)  # meters above the road
    horizontal_fov: float = bounded(80.0, 1.0, 170.0)  # degrees
    exposure_drift: bool = False  # a slowly changing gain and bias per frame
    samples: int = bounded(2, 1, 64)  # rays per pixel along either axis, in the images of a log
    capacities: Capacities = Capacities()


@struct.dataclass
class Primitives:
    """Solid shapes in the frame of their owner (0: the world, k: the center of vehicle k).

    shape columns:
      BOX        bound front, rear, side; half height; slope front, rear, side (x + slope z <= bound)
      CYLINDER   mean radius; radius change per meter of height; half height; 1 if the axis is y and not z
      ELLIPSOID  three radii; leaf threshold (> 3: solid); leaf frequency (1/meter)
      PANEL      half length; half height; period of the slats (0: solid); share of a period that is solid
    """

    center: Float[Array, "N 3"]  # meters
    yaw: Float[Array, "N"]  # radians about z
    shape: Float[Array, "N 7"]
    radius: Float[Array, "N"]  # meters: bounding sphere about `center`; negative in empty slots
    owner: Int[Array, "N"]
    material: Int[Array, "N"]
    color: Float[Array, "N 3"]  # linear albedo
    trim: Float[Array, "N 3"]  # linear albedo of frames, doors, shop signs, plates
    style: Float[Array, "N 8"]  # meaning depends on the material
    seed: Float[Array, "N"]  # [0, 1): moves the noise of this primitive
    counts: tuple[int, int, int, int] = struct.field(pytree_node=False)


@struct.dataclass
class Road:
    """The road: an arc with straight cross-section, painted lines, curbs, grass strips and sidewalks."""

    curvature: Float[Array, ""]  # 1/meter, positive to the left
    curbs: Float[Array, "2"]  # n of the right and of the left curb face, meters
    curb_height: Float[Array, ""]  # meters
    verges: Float[Array, "2"]  # meters: width of the grass strip behind either curb
    facades: Float[Array, "2"]  # n of the right and of the left building line, meters
    line_n: Float[Array, "L"]  # lateral position of painted lines, meters
    line_dash: Float[Array, "L"]  # meters of paint in a period; 0: solid
    line_period: Float[Array, "L"]  # meters
    line_valid: Bool[Array, "L"]
    line_yellow: Bool[Array, "L"]
    crossing: Float[Array, "2"]  # s where the zebra crossing begins and ends, meters
    bays: Float[Array, "2 2"]  # n range of the right and of the left parking bay, meters
    asphalt: Float[Array, "3"]  # linear albedo
    paving: Float[Array, "3"]  # linear albedo
    slab: Float[Array, "2"]  # meters: length and width of a slab
    offset: Float[Array, "2"]  # meters: moves all ground textures


@struct.dataclass
class Sky:
    """Sun and sky."""

    sun: Float[Array, "3"]  # unit vector towards the sun
    sun_color: Float[Array, "3"]
    zenith: Float[Array, "3"]
    horizon: Float[Array, "3"]
    cloud_cover: Float[Array, ""]  # 0..1
    offset: Float[Array, "2"]


@struct.dataclass
class Vehicles:
    """Tracked boxes; slot k has track id k + 1."""

    position: Float[Array, "V T 3"]  # meters: center of the box in the world
    yaw: Float[Array, "V T"]  # radians
    size: Float[Array, "V 3"]  # meters: length, width, height
    kind: Int[Array, "V"]  # index into VEHICLE_CLASSES
    valid: Bool[Array, "V"]


@struct.dataclass
class Street:
    """A street with its objects and vehicles, and the drive of the ego vehicle."""

    primitives: Primitives
    road: Road
    sky: Sky
    vehicles: Vehicles
    world_from_ego: Float[Array, "T 4 4"]
    times: Float[Array, "T"]  # seconds
    exposures: Float[Array, "T 2"]  # gain and bias applied to the stored colors
    horizontal_fov: Float[Array, ""]  # degrees, of the cameras of the rig
    camera_height: Float[Array, ""]  # meters


@struct.dataclass
class StreetView:
    """Ground truth of one camera. Depth, instance and sky belong to the pixel center."""

    rgb: Float[Array, "*b H W 3"]  # [0, 1], as stored (gamma applied)
    depth: Float[Array, "*b H W"]  # meters along the camera's z; 0 in the sky
    instance: Int[Array, "*b H W"]  # track id; 0: none
    sky: Bool[Array, "*b H W"]
