"""The state of a run between two steps."""

from elastier_trainer.trained import TrainedModel, load_trained, save_trained

__all__ = ["TrainedModel", "load_trained", "save_trained"]
