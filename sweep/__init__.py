"""sweep: find the loss weights of a multi-task recommender."""
