"""Trained models as services: signatures, decoding in the graph, export to other formats."""

FORMATS = ("saved_model", "onnx", "tflite")
