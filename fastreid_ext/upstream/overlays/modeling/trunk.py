"""A trunk: any network with a stem and four stages, run stage by stage.

Stage 1 ends at a quarter of the image, stages 2 to 4 at 1/8, 1/16 and 1/32, or 1/16 again with a last stride of 1.
"""
