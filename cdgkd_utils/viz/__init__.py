"""Pictures: `draw_x(…)` draws one, a part such as `trial_browser(…)` makes one live. In notebooks: ``cd.plot``.

Every ``draw_`` function takes a Matplotlib figure or subfigure first; without one it makes a figure of its own size.
Either way it returns it, so ``fig = cd.plot.draw_method()`` is a picture and
``cd.plot.draw_training(figure.subfigures(1, 2)[0], run.log)`` half of one. A part returns a panel: as the last line of
a cell it shows its controls and, below, its static twin (``panel.static``, a figure to save).

============ ======================================================================================================
panel        ``explore(draw, controls, *, button=None, text=None, static=None, follow=None) -> Panel``,
             ``strip(draw, settings, columns=1) -> Figure``, ``describe(figure) -> str``
style        ``COLOURS``, ``use()``, ``chance_line(ax, value=50)``, ``html_table(frame)``,
             ``save_figure(figure, name, params, data, numbers)``, ``done(notebook, params)``
signals      ``draw_montage()``, ``draw_ratings(index)``, ``draw_features(frames, features, times)``,
             ``draw_trial(windows, row, pictures, band="alpha")``;
             part ``trial_browser(windows, params, row=None)``
data         ``draw_twin(world)``, ``draw_steps(steps, channel="Fp1", first=1, seconds=2)``,
             ``draw_split(index, parts)``, ``draw_leak(windows, folds, scores, protocol, labels)``
             part ``leak_o_meter(windows, folds, scores)`` with folds = {protocol: Fold}
embeddings   ``project(embeddings, prototypes, n_points, rng, method="umap")``,
             ``draw_embeddings(panels)`` with panels = {title: (xy, labels, prototypes_xy, note)},
             ``draw_own_class({"eeg": p, "video": p})``, ``make_scene({name: history})``, ``draw_gap(scene)``,
             ``draw_tug(scene, epoch, part="train")``; part ``tug_of_war(scene)``
training     ``draw_training(log, panels=None, chosen=None)``, ``LiveTraining(title, n_epochs).update(log)``,
             ``draw_branches({name: log})``, ``draw_tries(tries)``, ``tries_table(tries)``,
             ``draw_chain(tried, chosen=None)``; parts ``chain_tries(train, tried=())``,
             ``rebalancing_tries(train, tries=(), n_epochs=None)`` with train(on_epoch=…, **conditions) -> log
             and tries = [(conditions, log)]
chain        ``draw_method()``, ``draw_memory(seen, unseen, unseen_name)``, ``draw_kept(kept, guides, title="")``,
             ``draw_shares(log, names=None)``, ``draw_soft(answers, part, place, temperature)``,
             ``draw_agreement(answers, part)``, ``draw_silence(learners, learner, n_steps=None)`` with learners =
             {role: (kept, guides, drop_prob)};
             parts ``soft_targets(answers, place=None)``, ``agreement(answers)``, ``silence(learners)``
controls     ``draw_control_fusion(scores, curves)``, ``draw_control_students(scores, flipped=0.25)``;
             part ``control_students(scores)``
tables       ``draw_results(scores, metric="accuracy", rows="poster", world="")`` both tables in the poster's layout,
             ``draw_claims(claims)``, ``draw_rows(scores, table, dataset, target, metric, methods, reference)``;
             part ``table_explorer(scores, table=1)``
student      ``draw_what_if(look)``, ``draw_sweep(table, score="accuracy")``, ``draw_reliability(labels, answers)``,
             ``draw_face_maps(frames, maps, titles)``, ``draw_clip(name, frames, mask, p_high, target, truth)``;
             parts ``what_if(answers)``, ``own_clip(answer, target="", example=None, truth=nan)``
worlds       ``draw_worlds(points, here=None)``, ``draw_world_shares(worlds)``, ``draw_hypotheses(table, other)``;
             part ``world_explorer(simulate, published)``
============ ======================================================================================================
"""

from __future__ import annotations

from importlib import import_module

_MODULES = {
    "panel": "explore strip describe",
    "style": "COLOURS use chance_line html_table save_figure done done_marker",
    "signals": "draw_montage draw_ratings draw_features draw_trial trial_browser",
    "data": "draw_twin draw_steps draw_split draw_leak leak_o_meter",
    "embeddings": "project draw_embeddings draw_own_class make_scene draw_gap draw_tug tug_of_war",
    "training": "draw_training LiveTraining draw_branches draw_tries tries_table rebalancing_tries "
    "draw_chain chain_tries",
    "chain": "draw_method draw_memory draw_kept draw_shares draw_soft draw_agreement draw_silence "
    "soft_targets agreement silence",
    "controls": "draw_control_fusion draw_control_students control_students",
    "tables": "draw_results draw_claims draw_rows table_explorer",
    "student": "draw_what_if draw_sweep draw_reliability draw_face_maps draw_clip what_if own_clip",
    "worlds": "draw_worlds draw_world_shares draw_hypotheses world_explorer",
}
_PLACE = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str):
    if name in _PLACE:  # loaded when first asked for: pyplot, ipywidgets and scikit-learn take a second
        return getattr(import_module(f".{_PLACE[name]}", __name__), name)
    raise AttributeError(f"no picture {name!r}; there are {', '.join(sorted(_PLACE))}")


def __dir__() -> list[str]:
    return sorted(_PLACE)
