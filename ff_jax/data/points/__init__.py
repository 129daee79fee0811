"""First points of a scene: from LiDAR, structure from motion, or at random."""
