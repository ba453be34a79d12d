"""Cross-modal densely guided knowledge distillation: the logic behind the notebooks."""

__version__ = "0.1.0"
