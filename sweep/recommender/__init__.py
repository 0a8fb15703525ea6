"""The only home of TensorFlow and TensorFlow Recommenders.

TFRS is written for Keras 2, which must be chosen before TensorFlow is imported: importing anything
from here sees to it, in silence.
"""

from sweep.quiet import import_tensorflow

import_tensorflow()
