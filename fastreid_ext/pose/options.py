"""Choices and defaults of pose models and pose files; plain values, so that the command line needs nothing else."""

PADDING = 1.25  # of a person's box, in the recipes of HRNet and MMPose
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of ImageNet's red, green and blue, 0 to 255
COLORS = ("rgb", "bgr")
DEVICES = ("cpu", "cuda")
BATCH_SIZE = 32
WORKERS = 4  # threads that read images
THRESHOLD = 0.2  # confidence above which a joint is seen
FORMATS = ("coco", "coco-results", "alphapose", "openpose")  # of JSON files with poses
NOTE = "fastreid_ext_pose"  # key of an ONNX file's metadata: JSON with the mean, std and color that it takes
