"""Every benchmark with a goal in one command: ``make bench``, or ``python bench/all.py [--only steps,grid]``.

Each section runs in a process of its own with the documented environment and a time limit. Writes ``results.json``
and ``results.md`` beside this file and ``figures/bench_scaling.png``; with ``--only`` the figures are printed, and
written only if ``--out`` says where. Ends with status 1 if a goal is missed or a section does not finish.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from measurement import Measurement, line, write_json
from provenance import ROOT, pace, provenance, steadiness
from table import markdown, verdict

from cdgkd_utils.experiments.cluster import ENVIRONMENT

HERE = Path(__file__).resolve().parent
PLACE = re.compile(r"(?<![\w.])/(?:[\w.+-]+/)+")  # folders of this machine in a message
SECTIONS = {  # script: seconds that it may take
    "prototypes": 60,
    "steps": 240,
    "reference": 900,
    "grid": 900,
    "scaling": 420,
    "data": 300,
    "whole": 300,
}
ABOUT = {
    "prototypes": "Prototype arithmetic against loops over windows.",
    "steps": "What guidance adds to a training step; ratios of CPU time.",
    "reference": "Networks of the paper's size against a plain port of them; ratios of CPU time.",
    "grid": "What the engine of a grid costs.",
    "scaling": "How CPU time and peak memory grow with size; see `figures/bench_scaling.png`.",
    "data": "Preparing windows, next to rivals; ratios of wall time within one process.",
    "whole": "The synthetic twin and one fold of the quick profile, CPU time.",
}


def run_section(name: str, limit: float, figures: Path | None) -> dict:
    """Run one section; what it measured before a problem counts.

    Returns
    -------
    dict
        ``about``, ``measurements``, ``problem`` ("" if it ran to its end), ``seconds`` of wall time.
    """
    start = time.perf_counter()
    environment = os.environ | ENVIRONMENT | {"TQDM_DISABLE": "1", "MPLBACKEND": "agg"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figures.json"
        command = [sys.executable, str(HERE / f"{name}.py"), "--json", str(path)]
        command += ["--figures", str(figures)] if name == "scaling" and figures else []
        problem, pipes = "", {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        # A group of its own, so that what a section started ends with it.
        with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
            try:
                errors = process.communicate(timeout=limit)[1].strip().splitlines()
                if process.returncode:
                    problem = PLACE.sub("…/", (errors or [f"exit status {process.returncode}"])[-1])
            except subprocess.TimeoutExpired:
                problem = f"took longer than {limit:.0f} s"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    found = [Measurement(**one) for one in stored]
    seconds = time.perf_counter() - start
    return {"about": ABOUT[name], "measurements": found, "problem": problem, "seconds": seconds}


def as_json(sections: dict[str, dict], where: dict[str, object]) -> dict:
    """Figures, goals and whether they are reached."""
    plain = {
        name: section | {"measurements": [asdict(m) | {"held": m.held} for m in section["measurements"]]}
        for name, section in sections.items()
    }
    return {"provenance": where, "verdict": verdict(sections), "sections": plain}


def chosen_sections(text: str) -> list[str]:
    """Names of the sections in a list with commas; all for "".

    Raises
    ------
    SystemExit
        There is no such section.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or list(SECTIONS)
    if unknown := [name for name in names if name not in SECTIONS]:
        raise SystemExit(f"--only {text}: no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="sections, with commas between them")
    parser.add_argument("--out", type=Path, help="folder for the results; default: beside this file, if complete")
    options = parser.parse_args()
    names = chosen_sections(options.only)
    out = options.out or (None if options.only else HERE)
    figures = None if out is None else ROOT / "figures" if out == HERE else out
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    where = provenance()
    sections, paces = {}, [pace()]
    for name in names:
        print(f"{name} ...", flush=True)
        sections[name] = run_section(name, SECTIONS[name], figures)
        for measurement in sections[name]["measurements"]:
            print("  " + line(measurement), flush=True)
        if sections[name]["problem"]:
            print(f"  did not finish: {sections[name]['problem']}", flush=True)
        paces.append(pace())
    where |= steadiness(paces, where["quiet"])
    if out is not None:
        write_json(out / "results.json", as_json(sections, where))
        (out / ".results.md.tmp").write_text(markdown(sections, where), encoding="utf-8")
        os.replace(out / ".results.md.tmp", out / "results.md")
    print(verdict(sections))
    missed = any(m.held is False for section in sections.values() for m in section["measurements"])
    return int(missed or any(section["problem"] for section in sections.values()))


if __name__ == "__main__":
    sys.exit(main())
