"""Initial points of a scene: from LiDAR, structure from motion, or random."""
