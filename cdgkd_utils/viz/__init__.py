"""Figures. Functions take data and return axes or figures; nothing here computes a result or imports torch."""
