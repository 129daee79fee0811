"""The fields that are read of the messages of the Waymo Open Dataset (dataset.proto, label.proto, map.proto)."""

from ff_jax.data.formats.protobuf_wire import Field

TRANSFORM = {1: Field("transform", "double", True)}
CAMERA_CALIBRATION = {
    1: Field("name", "int"),
    2: Field("intrinsic", "double", True),  # fx, fy, cx, cy, k1, k2, p1, p2, k3
    3: Field("extrinsic", TRANSFORM),
    4: Field("width", "int"),
    5: Field("height", "int"),
    6: Field("direction", "int"),  # of the read-out
}
LASER_CALIBRATION = {
    1: Field("name", "int"),
    2: Field("inclinations", "double", True),
    3: Field("inclination_min", "double"),
    4: Field("inclination_max", "double"),
    5: Field("extrinsic", TRANSFORM),
}
CONTEXT = {1: Field("name", "string"), 2: Field("cameras", CAMERA_CALIBRATION, True)}
CONTEXT |= {3: Field("lasers", LASER_CALIBRATION, True)}
SPEEDS = ("v_x", "v_y", "v_z")
TURNS = ("w_x", "w_y", "w_z")
VELOCITY = {number: Field(key, "float") for number, key in enumerate(SPEEDS, 1)}
VELOCITY |= {number: Field(key, "double") for number, key in enumerate(TURNS, 4)}
IMAGE = {1: Field("name", "int"), 2: Field("jpeg", "span"), 3: Field("pose", TRANSFORM), 4: Field("velocity", VELOCITY)}
IMAGE |= {number: Field(key, "double") for number, key in enumerate(("time", "exposure", "trigger", "done"), 5)}
RANGE_IMAGE = {2: Field("ranges", "span"), 4: Field("poses", "span")}
LASER = {1: Field("name", "int"), 2: Field("first", RANGE_IMAGE), 3: Field("second", RANGE_IMAGE)}
BOX_KEYS = ("center_x", "center_y", "center_z", "width", "length", "height", "heading")
BOX = {number: Field(key, "double") for number, key in enumerate(BOX_KEYS, 1)}
LABEL = {
    1: Field("box", BOX),
    3: Field("type", "int"),
    4: Field("id", "string"),
    7: Field("points", "int"),
    13: Field("top_points", "int"),
}
POINT = {1: Field("x", "double"), 2: Field("y", "double"), 3: Field("z", "double")}
LINE = {2: Field("points", POINT, True)}
OUTLINE = {1: Field("points", POINT, True)}
FEATURE = {4: Field("lane_line", LINE), 5: Field("road_edge", LINE), 8: Field("crosswalk", OUTLINE)}
FRAME = {
    1: Field("context", CONTEXT),
    2: Field("micros", "int"),
    3: Field("pose", TRANSFORM),
    4: Field("images", IMAGE, True),
    5: Field("lasers", LASER, True),
    6: Field("labels", LABEL, True),
    10: Field("features", FEATURE, True),
    11: Field("map_offset", POINT),
}
MATRIX = {1: Field("data", "float", True), 2: Field("shape", {1: Field("dims", "int", True)})}
