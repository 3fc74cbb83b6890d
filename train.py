"""Trains a model: `python train.py --flagfile=configs/quickstart.cfg`; --help lists the flags."""

from keras_i2i_commands import train_main

if __name__ == "__main__":
    train_main()
