"""Handwriting from one sample (One-DM, arXiv 2409.04004): what its networks, data and judges share.

laplacian   high-frequency images of words, and words of several widths in one batch
glyphs      text as pictures of its characters, from any font
layout      lines and words of a picture
reference   a picture of somebody's handwriting, as a user has it, made ready
"""
