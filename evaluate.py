"""Evaluates a run (`python evaluate.py --run=DIR`) or reads your images with it (`--images=…`)."""

from keras_i2i_commands import evaluate_main

if __name__ == "__main__":
    evaluate_main()
