"""Interactive parts: tested functions that draw figures, shown by :class:`.panel.Panel`, with static twins."""
