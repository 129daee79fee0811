"""Studies: the effect of each part of the method, on logs with ground truth."""
