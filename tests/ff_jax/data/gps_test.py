"""Positions of images: EXIF tags, GPX tracks and tables that the tests write."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from ff_jax.data.exif import Fix, exif_fix, exif_time
from ff_jax.data.gps import local_meters, positions_from_file, positions_from_images, positions_from_table, read_gpx
from ff_jax.data.lazy_arrays import ImageFile
from tests.ff_jax.data import tiny
from tests.random_inputs import seeded_rng

RADIUS = 6371000.0


def degrees_of(east_north):
    """Convert meters near (-33, 151) to degrees, on a sphere."""
    east, north = np.asarray(east_north).T
    return -33 + np.rad2deg(north / RADIUS), 151 + np.rad2deg(east / (RADIUS * np.cos(np.deg2rad(33))))


def rational(value):
    return TiffImagePlugin.IFDRational(round(value * 10**6), 10**6)


def sexagesimal(value):
    value = abs(value)
    minutes = value % 1 * 60
    return rational(int(value)), rational(int(minutes)), rational(minutes % 1 * 60)


def write_image(path, place=None, altitude=None, date=None, zone=None):
    image = Image.fromarray(np.zeros((16, 24, 3), np.uint8))
    exif = image.getexif()
    if place is not None:
        latitude, longitude = place
        gps = {1: "S" if latitude < 0 else "N", 2: sexagesimal(latitude)}
        gps |= {3: "W" if longitude < 0 else "E", 4: sexagesimal(longitude)}
        gps |= {} if altitude is None else {5: b"\1" if altitude < 0 else b"\0", 6: rational(abs(altitude))}
        exif[0x8825] = gps
    if date:
        exif[0x8769] = {36867: date, 37521: "25"} | ({36881: zone} if zone else {})
    image.save(path, exif=exif)
    return path


def frames_of(paths):
    frame = tiny.make_frame(paths[0].parent, seeded_rng(), "a", 0)
    frames = []
    for number, path in enumerate(paths):
        pose = frame.world_from_camera.copy()
        pose[:3, 3] = 0.3 * number, 0.1 * number**2, 0  # the way of the cameras, in units
        frames.append(replace(frame, image=ImageFile(path), time_index=number, world_from_camera=pose))
    return frames


def test_tags_of_all_hemispheres_are_read(tmp_path):
    for sign in ((1, 1), (-1, 1), (1, -1), (-1, -1)):
        place = np.array([12.3456789, 98.7654321]) * sign
        fix = exif_fix(write_image(tmp_path / "a.jpg", place, -3.5))
        np.testing.assert_allclose(fix[:3], (*place, -3.5), atol=1e-8)
    assert np.isnan(exif_fix(write_image(tmp_path / "a.jpg", (1.0, 2.0))).altitude)
    assert exif_fix(write_image(tmp_path / "a.jpg")) is None and exif_time(tmp_path / "a.jpg") is None
    assert exif_fix(write_image(tmp_path / "a.jpg", (0.0, 0.0))) is None  # no reception
    utc = exif_time(write_image(tmp_path / "a.jpg", date="2026:03:01 12:00:00"))
    zoned = exif_time(write_image(tmp_path / "b.jpg", date="2026:03:01 12:00:00", zone="+09:00"))
    assert utc.seconds - zoned.seconds == 9 * 3600 and (utc.has_zone, zoned.has_zone) == (False, True)
    assert utc.seconds % 1 == 0.25
    (tmp_path / "b.jpg").write_bytes(b"no image")
    assert exif_fix(tmp_path / "b.jpg") is None


def test_degrees_become_meters():
    places = seeded_rng().uniform(-500, 500, (20, 2))
    latitude, longitude = degrees_of(places)
    found = local_meters([Fix(*pair, altitude) for *pair, altitude in zip(latitude, longitude, range(20), strict=True)])
    np.testing.assert_allclose(found[:, :2], places - places[0], atol=6)  # an ellipsoid is no sphere
    np.testing.assert_allclose(found[:, 2], np.arange(20), atol=0.2)
    assert not local_meters([Fix(1.0, 2.0, 5.0), Fix(1.0, 2.0)]).any()  # without all altitudes the ground is flat


def gpx(points, tag="trkpt"):
    body = "".join(
        f'<{tag} lat="{lat:.9f}" lon="{lon:.9f}"><ele>{ele}</ele>{extra}</{tag}>\n' for lat, lon, ele, extra in points
    )
    return f'<?xml version="1.0"?><gpx><trk><trkseg>\n{body}</trkseg></trk></gpx>'


def test_a_track_is_matched_by_the_times_of_images_in_any_zone(tmp_path):
    seconds = np.arange(0, 7200.0, 1.0)  # a drive of two hours
    way = np.stack([9 * seconds, 300 * np.sin(seconds / 41)], -1)
    points = [
        (lat, lon, 0, f"<time>2026-03-01T{9 + int(s) // 3600:02}:{int(s) // 60 % 60:02}:{int(s) % 60:02}Z</time>")
        for s, lat, lon in zip(seconds, *degrees_of(way), strict=True)
    ]
    (tmp_path / "track.gpx").write_text(gpx(points))
    assert len(read_gpx(tmp_path / "track.gpx")) == 7200
    chosen = 3000 + 10 * np.arange(9)  # the clock of the camera is 10 hours ahead
    dates = [f"2026:03:01 {19 + s // 3600:02}:{s // 60 % 60:02}:{s % 60:02}" for s in chosen]
    paths = [write_image(tmp_path / f"{i}.jpg", date=date) for i, date in enumerate(dates)]
    frames = frames_of(paths)
    places = 0.1 * way[chosen]  # the path of the cameras, in units
    for frame, place in zip(frames, places, strict=True):
        frame.world_from_camera[:2, 3] = place
    numbers, found = positions_from_file(tmp_path / "track.gpx", frames)
    assert numbers == list(range(9))
    expected = way[chosen] + 0.25 * (way[chosen + 1] - way[chosen])
    np.testing.assert_allclose(np.diff(found[:, :2], axis=0), np.diff(expected, axis=0), rtol=0.01, atol=0.5)
    other = [
        write_image(tmp_path / f"{i}.jpg", date=date.replace("2026:03", "2025:03")) for i, date in enumerate(dates)
    ]
    with pytest.raises(ValueError, match="covers the times of 0 of 9 images"):
        positions_from_file(tmp_path / "track.gpx", frames_of(other))


def test_a_track_is_matched_by_names_or_by_its_number_of_points(tmp_path):
    way = np.stack([np.arange(5) * 8.0, np.arange(5) ** 2], -1)
    frames = frames_of([write_image(tmp_path / f"im_{i}.JPG") for i in range(5)])
    rows = list(zip(*degrees_of(way), range(5), strict=True))
    named = [(*row, f"<name>im_{4 - i}.JPG</name>") for i, row in enumerate(rows)]
    (tmp_path / "named.gpx").write_text(gpx(named, "wpt"))
    numbers, found = positions_from_file(tmp_path / "named.gpx", frames)
    np.testing.assert_allclose(found[np.argsort(numbers), 0][::-1], way[:, 0] - way[4, 0], atol=0.3)
    (tmp_path / "plain.GPX").write_text(gpx([(*row, "") for row in rows]).replace('"', "'"))
    numbers, found = positions_from_file(tmp_path / "plain.GPX", frames)
    assert numbers == list(range(5))
    np.testing.assert_allclose(found[:, :2], way, atol=0.2)
    (tmp_path / "short.gpx").write_text(gpx([(*row, "") for row in rows[:3]]))
    with pytest.raises(ValueError, match="its 3 points cannot be matched with 5 images"):
        positions_from_file(tmp_path / "short.gpx", frames)
    (tmp_path / "empty.gpx").write_text("<gpx/>")
    with pytest.raises(ValueError, match="no points"):
        positions_from_file(tmp_path / "empty.gpx", frames)


def test_tables_name_images_by_path_name_or_stem(tmp_path):
    (tmp_path / "images" / "cam a").mkdir(parents=True)
    frames = frames_of([write_image(tmp_path / "images" / "cam a" / f"{i}.png") for i in range(4)])
    way = np.stack([np.arange(4) * 8.0, np.arange(4) ** 2], -1)
    rows = list(zip(*degrees_of(way), strict=True))
    tables = {
        "a.csv": "name,lat,lon,alt\r\n"
        + "".join(f"cam a/{i}.png,{a:.9f},{b:.9f},3\r\n" for i, (a, b) in enumerate(rows)),
        "b.txt": "# name lat lon\n" + "".join(f"{i}.png {a:.9f} {b:.9f}\n" for i, (a, b) in enumerate(rows)),
        "c.txt": "".join(f"{i}\t{a:.9f}\t{b:.9f}\n" for i, (a, b) in enumerate(rows)),
    }
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
        numbers, found = positions_from_file(tmp_path / name, frames)
        assert numbers == [0, 1, 2, 3], name
        np.testing.assert_allclose(found[:, :2], way, atol=0.2)
    (tmp_path / "xyz.txt").write_text("".join(f"{i}.png {1000 * i} 2 3\n" for i in range(1, 4)))
    numbers, found = positions_from_table(tmp_path / "xyz.txt", frames)
    np.testing.assert_array_equal(found, [[1000 * i, 2, 3] for i in (1, 2, 3)])
    with pytest.raises(ValueError, match="no latitudes"):
        positions_from_file(tmp_path / "xyz.txt", frames)
    (tmp_path / "odd.txt").write_text("other.png 1 2 3\n")
    with pytest.raises(ValueError, match=r"none of its 1 names is that of an image, such as 'other\.png'"):
        positions_from_table(tmp_path / "odd.txt", frames)
    assert positions_from_images(frames)[0] == []
