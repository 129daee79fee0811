"""Files of Gaussians of other tools, one module per format.

files    write and read a file of Gaussians of the format that its suffix names
nodes    sets of Gaussians with their motion
sog      images of numbers in codebooks, the smallest
splat    32 bytes a Gaussian, for viewers in the browser
spz      compressed, with view-dependent colors (zstd; gzip is read)
splats   what all readers give, and the bounds that they share
usd      one particle field per node, with its motion
usdz     a USD layer with other files in one archive
"""
