"""Weights of published PyTorch networks as parameters of the networks here, and back.

name_mapping        tables of rules: names and axes, both ways
safetensors_shards  tensors of .safetensors files, one at a time
cogvideox, difix    the tables of the video networks and of the image networks
"""
