"""From an experiment to a finished run: flags, strategy, fit, callbacks, checkpoints."""
