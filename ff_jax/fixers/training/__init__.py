"""Training of the pretrained fixers on one device or many.

sharding        which device holds which parts of arrays
state           the training state, its optimizer and gradients
loop            one step, and the loop around it
phase           a loss with its own checkpoints, a time limit and averaged weights
weight_average  the average of the weights over the training
"""
