"""Studies: what each part of the method gains, on logs whose truth is known."""
