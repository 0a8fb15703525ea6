"""The search over loss weights: Optuna proposes, an executor trains, a storage remembers."""
