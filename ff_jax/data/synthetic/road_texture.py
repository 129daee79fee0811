"""Albedo of the street surface: asphalt, paint, curb stones, slabs and grass as functions of (s, n)."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from ff_jax.data.synthetic.procedural_noise import (
    band,
    constant_color,
    hash_unit,
    mix,
    rect,
    smoothstep,
    stripes,
    sum_octaves,
    to_cell,
)
from ff_jax.data.synthetic.types import Road

LINE_HALF_WIDTH = 0.075  # meters
ZEBRA_MARGIN = 0.4  # meters between the zebra crossing and either curb
LANE = 3.4  # meters: pitch of wheel tracks and repairs


Noise = Float[Array, "9 ..."]  # see `octaves`
Color = Float[Array, "3 ..."]  # linear


class RoadPoint(NamedTuple):
    """A point of the street surface that a ray hits, and the footprint of the pixel."""

    s: Float[Array, "..."]  # meters along the street
    n: Float[Array, "..."]  # meters to the left
    wall: Bool[Array, "..."]  # on the vertical face of a curb
    size: Float[Array, "..."]  # meters: mean footprint
    size_s: Float[Array, "..."]  # meters: footprint along s
    size_n: Float[Array, "..."]  # meters: footprint along n


def _asphalt(road: Road, spot: RoadPoint, noise: Noise) -> Color:
    s, n = spot.s, spot.n
    grain = sum_octaves(noise, (0.75, 0.25, 0.12, 0.12, 0.25, 0.3))
    crack = jnp.abs(sum_octaves(noise, (0.0, 0.08), (0.3, 0.5, 1.0)))
    crack = (1.0 - smoothstep(crack, 0.004, 0.014)) * smoothstep(noise[5] + 0.5 * noise[4], 0.12, 0.4)
    crack = crack * (1.0 - smoothstep(spot.size, 0.03, 0.15))
    i, j = to_cell(s / 8.0), to_cell((n + 0.5 * LANE) / LANE)
    u, v = s - 8.0 * (i + 0.5), n - LANE * j - 0.6 * (hash_unit(i, j, 5) - 0.5)
    half = 1.2 + 2.2 * hash_unit(i, j, 6)
    inner, outer = (rect(u, v, half - e, 0.8 - e, spot.size) for e in (0.05, 0.0))
    mended = hash_unit(i, j, 4) < 0.16
    lane = n - LANE * jnp.round(n / LANE)
    track = jnp.exp(-((jnp.abs(lane) - 0.78) ** 2) / 0.05)
    oil = jnp.exp(-(lane**2) / 0.09) * (0.5 + noise[4])
    shade = (1.0 + 0.8 * grain) * (1.0 - 0.10 * track) * (1.0 - 0.18 * oil) * (1.0 - 0.6 * crack)
    shade = shade * jnp.where(mended, (1.0 - 0.28 * inner) * (1.0 - 0.4 * (outer - inner)), 1.0)
    return road.asphalt.reshape(3, *(1,) * s.ndim) * shade * _manhole(spot)


def _manhole(spot: RoadPoint) -> Float[Array, "..."]:
    i = to_cell(spot.s / 19.0)
    u = spot.s - 19.0 * i - 3.0 - 13.0 * hash_unit(i, i, 8)
    v = spot.n - LANE * jnp.floor(hash_unit(i, i, 9) * 3) - 0.9
    r = jnp.sqrt(u * u + v * v)
    disc, ring = 1.0 - smoothstep(r, 0.30, 0.33), smoothstep(r, 0.27, 0.29) * (1.0 - smoothstep(r, 0.33, 0.36))
    bars = stripes(u, 0.07, 0.035, spot.size) * disc
    return (1.0 - 0.35 * disc) * (1.0 - 0.3 * ring) * (1.0 + 0.35 * bars)


def _paint(road: Road, spot: RoadPoint, noise: Noise) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Compute the coverage of white and of yellow paint."""
    s, n = spot.s, spot.n
    column = (-1,) + (1,) * s.ndim
    line_n, dash, period = (a.reshape(column) for a in (road.line_n, road.line_dash, road.line_period))
    dash = jnp.where(dash == 0, period, dash)
    lines = band(n - line_n, LINE_HALF_WIDTH, spot.size_n) * stripes(s, period, dash, spot.size_s)
    lines = lines * road.line_valid.reshape(column)
    is_yellow = road.line_yellow.reshape(column)
    white, yellow = jnp.max(lines * ~is_yellow, 0), jnp.max(lines * is_yellow, 0)
    low, high = road.crossing
    clear = 1.0 - band(s - 0.5 * (low + high), 0.5 * (high - low) + 2.9, spot.size_s)
    middle, half = 0.5 * (road.curbs[0] + road.curbs[1]), 0.5 * (road.curbs[1] - road.curbs[0]) - ZEBRA_MARGIN
    zebra = band(s - 0.5 * (low + high), 0.5 * (high - low), spot.size_s) * band(n - middle, half, spot.size_n)
    zebra = zebra * stripes(n - road.curbs[0], 1.0, 0.5, spot.size_n)
    stop = band(s - low + 2.2, 0.22, spot.size_s) * band(n - 1.7, 3.3, spot.size_n)
    worn = smoothstep(sum_octaves(noise, (0.5, 0.7, 0.5, 0.4), (0.3,)), -0.5, -0.1)
    white = jnp.maximum(white * clear, jnp.maximum(zebra, stop))
    return white * worn, yellow * clear * worn


def _add_bays(asphalt: Color, road: Road, spot: RoadPoint, noise: Noise) -> Color:
    """Lay the paved parking bays into the asphalt."""
    middle, half = 0.5 * jnp.sum(road.bays, 1), 0.5 * (road.bays[:, 1] - road.bays[:, 0])
    inside = jnp.maximum(*(band(spot.n - middle[k], half[k], spot.size_n) for k in range(2)))
    mark = inside * stripes(spot.s, 6.4, 0.12, spot.size_s)
    row = to_cell(spot.n / 0.14)
    u, v = spot.s + 0.1 * (row % 2), spot.n
    joint = jnp.maximum(stripes(u, 0.2, 0.015, spot.size), stripes(v, 0.14, 0.015, spot.size))
    stone = hash_unit(to_cell(u / 0.2), row, 12) - 0.5
    shade = (1.0 + 0.4 * stone * (1.0 - smoothstep(spot.size, 0.1, 0.3))) * (1.0 - 0.45 * joint)
    stones = constant_color((0.17, 0.15, 0.14), spot.s) * shade * (1.0 + sum_octaves(noise, (0.3, 0.0, 0.0, 0.3, 0.4)))
    return mix(mix(asphalt, stones, inside), 0.55, 0.9 * mark)


def _grass(noise: Noise) -> Color:
    blades = sum_octaves(noise, (1.2, 0.8, 0.5, 0.3, 0.4))
    dry = smoothstep(noise[8] + 0.4 * noise[7], -0.05, 0.3)
    color = mix(constant_color((0.075, 0.13, 0.03), dry), constant_color((0.16, 0.14, 0.07), dry), dry[None])
    return color * jnp.maximum(1.0 + 0.8 * blades, 0.1)


def _behind_curb(road: Road, spot: RoadPoint, noise: Noise) -> Color:
    """Compute the albedo of curb stone, verge and sidewalk."""
    right = spot.n < 0.5 * (road.curbs[0] + road.curbs[1])
    m = jnp.where(right, road.curbs[0] - spot.n, spot.n - road.curbs[1])
    verge = jnp.where(right, road.verges[0], road.verges[1])
    yard = jnp.where(right, road.curbs[0] - road.facades[0], road.facades[1] - road.curbs[1])
    curb = constant_color((0.36, 0.35, 0.33), m) * (1.0 - 0.5 * stripes(spot.s, 1.0, 0.02, spot.size_s))
    curb = curb * (1.0 + sum_octaves(noise, (0.3, 0.2, 0.2, 0.1, 0.3)))
    a, b = road.slab
    row = to_cell(m / b)
    u = spot.s + 0.5 * a * (row % 2)
    joint = jnp.maximum(stripes(u, a, 0.014, spot.size_s), stripes(m, b, 0.014, spot.size_n))
    tone = (hash_unit(to_cell(u / a), row, 22) - 0.5) * (1.0 - smoothstep(spot.size, 0.3, 0.9))
    dirt = sum_octaves(noise, (0.3, 0.2, 0.15, 0.2, 0.25, 0.2))
    slabs = road.paving.reshape(3, *(1,) * m.ndim) * (1.0 + 0.22 * tone + 0.8 * dirt) * (1.0 - 0.5 * joint)
    path = hash_unit(to_cell(spot.s / 5.0), right.astype(jnp.int32), 26) < 0.22
    green = ((m > 0.16) & (m < verge) & ~path) | (m > yard + 0.4)
    out = jnp.where(green, _grass(noise), slabs)
    return jnp.where((m < 0.16) | spot.wall, curb, out)


def road_albedo(road: Road, spot: RoadPoint, noise: Noise) -> Color:
    """Compute the linear albedo of the street; `noise`: octaves at (s, n)."""
    shifted = spot._replace(s=spot.s + road.offset[0])
    albedo = _add_bays(_asphalt(road, shifted, noise), road, spot, noise)
    white, yellow = _paint(road, spot, noise)
    albedo = mix(albedo, constant_color((0.62, 0.62, 0.6), spot.s), white)
    albedo = mix(albedo, constant_color((0.6, 0.4, 0.06), spot.s), yellow)
    on_road = (spot.n > road.curbs[0]) & (spot.n < road.curbs[1]) & ~spot.wall
    gutter = jnp.minimum(spot.n - road.curbs[0], road.curbs[1] - spot.n)
    albedo = albedo * (0.72 + 0.28 * smoothstep(gutter, 0.0, 0.5))
    return jnp.where(on_road, albedo, _behind_curb(road, shifted, noise))
