"""Training of the pretrained generators on one device or many.

mesh   which device holds what
state  what training changes, and what stays frozen
loop   one step, and the loop around it
phase  a loss with checkpoints of its own, a time limit and averaged weights
"""
