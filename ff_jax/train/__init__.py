"""Training: state, steps, the loop around them, phases, checkpoints and logs."""
