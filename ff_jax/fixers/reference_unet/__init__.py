"""A residual U-Net that repairs a render by choosing, per pixel, among re-projected recorded images."""
