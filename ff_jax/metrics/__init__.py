"""Measure renders; all functions take arrays (and boxes and lanes of a log).

image            PSNR, SSIM (windows "gaussian11", "uniform7")
lpips            LPIPS, AlexNet or VGG16, differentiable; a number or a map
inception, fid   features; FID and KID of sets, in bounded memory
detectors, nta_iou      vehicles: NTA-IoU as published, and strict
lane_raster, ntl_iou    lanes: NTL-IoU as published, and strict
regions          under-constrained and high-precision regions (UCR, HPR) of an EIG map
lidar_depth      rendered depth against LiDAR
temporal         warping error between frames
calibration      ranking and calibration of uncertainty maps
confidence       confidence intervals over frames and seeds

`docs/benchmark_protocol.md` lists all choices and their effect.
"""
