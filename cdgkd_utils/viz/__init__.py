"""Pictures: `draw_x(…)` draws one, a part such as `trial_browser(…)` makes one live. In notebooks: ``cd.plot``.

Every ``draw_`` function takes a Matplotlib figure or subfigure first, or makes a figure of its own size, and returns
it. A part returns a panel: as the last line of a cell it shows its controls and its static twin, ``panel.static``.
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "panel": "explore strip describe",
    "style": "COLOURS use save_figure done done_marker",
    "signals": "draw_ratings draw_features draw_trial trial_browser",
    "data": "draw_twin draw_steps draw_split draw_leak leak_o_meter",
    "embeddings": "project draw_embeddings draw_own_class make_scene draw_gap draw_tug tug_of_war",
    "training": "draw_training LiveTraining draw_branches draw_tries rebalancing_tries draw_chain chain_tries",
    "chain": "draw_method draw_memory draw_kept draw_shares draw_soft draw_agreement draw_silence "
    "soft_targets agreement silence",
    "tables": "draw_results draw_claims table_explorer",
    "student": "draw_what_if draw_sweep draw_reliability draw_face_maps draw_clip what_if own_clip",
    "worlds": "draw_worlds draw_world_shares draw_hypotheses world_explorer "
    "draw_control_fusion draw_control_students control_students",
}
_PLACE = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str):
    if name in _PLACE:  # loaded when first asked for: pyplot, ipywidgets and scikit-learn take a second
        return getattr(import_module(f".{_PLACE[name]}", __name__), name)
    raise AttributeError(f"no picture {name!r}; there are {', '.join(sorted(_PLACE))}")


def __dir__() -> list[str]:
    return sorted(_PLACE)
