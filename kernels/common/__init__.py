"""Parts that several ops share."""
