"""Measures of renders, usable without the rest of the pipeline: they take arrays (and boxes and lanes of a log).

image            PSNR, SSIM (windows "gaussian11", "uniform7")
lpips            LPIPS, AlexNet or VGG16, differentiable; a number or a map
inception, fid   features; FID and KID of sets, as streams
detectors, box_projection, nta_iou   vehicles: NTA-IoU as published, and strict
lane_raster, ntl_iou                 lanes: NTL-IoU as published, and strict
partition        under-constrained and high-precision regions (UCR, HPR) of an EIG map
lidar_depth      rendered depth against LiDAR
temporal         warping error between frames
calibration      how well a map predicts the error
intervals        confidence intervals over frames and over seeds
weights          networks from a path, or a URL with its SHA-256

Choices and what they cost: docs/benchmark_protocol.md.
"""
