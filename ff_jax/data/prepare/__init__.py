"""What users otherwise make by hand before reconstruction: sky masks, masks of the own vehicle, smooth tracks."""
