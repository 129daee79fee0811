"""Write results of a run: pictures, charts, pages, videos, tables and PLY files.

actor_sheet      index of the actors of a scene
colormaps        color EIG maps and other scalar maps (matplotlib)
figures          labeled image grids, and charts as images or SVG (matplotlib)
formats          Gaussians as files of other tools, by suffix
html             one-file results page (Jinja)
image_bytes      8-bit images, PNG, JPEG, data URLs
ply              Gaussians as PLY files
records          records that pages and figures draw
scene_page       one-file page that shows Gaussians in a browser (Jinja, gsplat)
tables           tables as text, Markdown and LaTeX
video            MP4 files (ffmpeg)
"""
