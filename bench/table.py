"""The benchmark's table in Markdown, from what the sections measured."""

from __future__ import annotations

from collections.abc import Mapping

from measurement import Measurement

HEADER = ("What", "Measured", "Least to largest", "Goal", "Reached", "Note")


def figure(value: float | None, unit: str = "") -> str:
    """Three significant digits, without an exponent."""
    if value is None:
        return "not measured"
    text = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{text} {unit}".strip()


def row(measurement: Measurement) -> list[str]:
    """Cells of one figure, in the order of ``HEADER``."""
    m = measurement
    spread = "" if m.low is None or m.high is None else f"{figure(m.low)} to {figure(m.high)}"
    reached = {True: "yes", False: "**no**", None: "not measured"}[m.held] if m.goal else ""
    return [m.name, figure(m.value, m.unit), spread, m.goal, reached, m.note]


def verdict(sections: Mapping[str, dict]) -> str:
    """One sentence: how many goals are reached, which are not."""
    measured = [m for section in sections.values() for m in section["measurements"] if m.goal]
    missed = [m.name for m in measured if m.held is False]
    unknown = sum(m.held is None for m in measured)
    text = f"{sum(m.held is True for m in measured)} of {len(measured)} goals reached"
    text += f", {len(missed)} missed ({'; '.join(missed)})" if missed else ""
    text += f", {unknown} not measured" if unknown else ""
    failed = [name for name, section in sections.items() if section["problem"]]
    return text + (f"; section {', '.join(failed)} did not finish." if failed else ".")


def markdown(sections: Mapping[str, dict], provenance: Mapping[str, object]) -> str:
    """The whole page.

    Parameters
    ----------
    sections : mapping of str to dict
        By name: ``about`` (str), ``measurements`` (list of Measurement), ``problem`` (str, "" if it ran to its end),
        ``seconds`` (float).
    provenance : mapping
        As of `provenance.provenance`.
    """
    where = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in provenance.items() if value is not None)
    parts = [
        "# Benchmark",
        "Written by `make bench`; one thread per process, the two sides of a ratio in turns within this run, medians "
        "over the rounds. Ratios are to be trusted, absolute times hold for this machine alone.",
        f"Provenance: {where}.",
    ]
    if not provenance["quiet"]:
        parts.append(
            "**Something else was running on this machine, or its speed changed meanwhile (slowest over "
            "fastest, above): times, and ratios of wall times, are unreliable.**"
        )
    parts.append(verdict(sections))
    for name, section in sections.items():
        parts.append(f"## {name}\n\n{section['about']} ({section['seconds']:.0f} s)")
        if section["measurements"]:
            lines = [HEADER, ["---"] * len(HEADER), *(row(m) for m in section["measurements"])]
            parts.append("\n".join("| " + " | ".join(cells) + " |" for cells in lines))
        if section["problem"]:
            parts.append(f"Did not finish: {section['problem']}")
    return "\n\n".join(parts) + "\n"
