"""Weights of published PyTorch networks as parameters of the networks here, and back.

keys        tables of rules: names and axes, both ways
shards      tensors of .safetensors files, one at a time
cogvideox   the tables of the CogVideoX transformer and its video autoencoder
t5          the table of the text encoder
"""
