"""What both trainings share: files, checkpoints, logs, locks and network weights."""
