"""The only home of TensorFlow and TensorFlow Recommenders.

TFRS is written for Keras 2, so the legacy Keras must be chosen before TensorFlow is imported.
"""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
