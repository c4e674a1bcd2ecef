"""Trained models in files for other programs: ONNX, torch.export, OpenVINO, and how far they differ from the model."""
