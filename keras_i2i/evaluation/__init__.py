"""What a finished run is judged by: numbers, pictures, and one page that a person reads.

`metrics` counts, `embeddings` and `figures` draw, `evaluate` puts a seed's classifiers through both
and `segmentation` its models of pixels; `common` is what these two share. `report` writes the page,
`comparison` one over several runs, and `page` is what both pages share; `user_images` reads a
user's own files. Models come in as arguments; see `evaluate` for the few methods they need.
"""

from keras_i2i.evaluation.comparison import write_comparison as write_comparison
from keras_i2i.evaluation.user_images import read_images as read_images
