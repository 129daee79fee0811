"""Shapes that the tests and the benchmark of the SSIM kernel share."""

TEST_SHAPES = ((24, 31, 3), (7, 300, 1), (5, 4, 2))  # (H, W, C); wider than one block; smaller than the window
