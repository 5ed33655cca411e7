"""Rounds of sessions into one table of medians and ratios.

Owns which figure of a scenario is told, in which direction it is better, and the floors of the
performance goals. A ratio is always "how many times better than Kafka": above 1 is better.
"""

import statistics

# figure -> (unit, whether more is better)
FIGURES = {
    "mb_per_s": ("MB/s", True), "messages_per_s": ("msg/s", True),
    "broker_cpu_s_per_gb": ("CPU s/GB", False), "p50_ms": ("p50 ms", False), "p99_ms": ("p99 ms", False),
    "p999_ms": ("p99.9 ms", False), "resident_mb": ("MB resident", False),
    "anonymous_mb": ("MB anonymous", False), "peak_mb": ("MB peak", False), "seconds": ("s", False),
}
# What a table row shows of a scenario; everything else is in the JSON.
SHOWN = [
    ("e2e", ("p50_ms", "p99_ms", "p999_ms")), ("start", ("seconds",)), ("idle", ("resident_mb",)),
    ("memory", ("resident_mb", "anonymous_mb")), ("", ("mb_per_s", "broker_cpu_s_per_gb", "p99_ms")),
]


def shown(scenario):
    return next(figures for prefix, figures in SHOWN if scenario.startswith(prefix))


def median(rounds, broker, scenario, figure):
    """The median over the rounds in which the figure may be used, and those rounds' marks."""
    found = [(one[broker][scenario], one[broker][scenario].get(figure)) for one in rounds
             if scenario in one.get(broker, {})]
    found = [(figures, value) for figures, value in found if value is not None]
    sound = [value for figures, value in found if not figures.get("void") and not figures.get("noisy")]
    usable = sound or [value for _, value in found]
    if not usable:
        return None, ""
    marks = set()
    if not sound:
        marks = {mark for figures, _ in found for mark in ("void", "noisy") if figures.get(mark)}
    return statistics.median(usable), "".join({"void": "ᵛ", "noisy": "ⁿ"}[mark] for mark in sorted(marks))


def number(value):
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def summarise(rounds, brokers):
    """One row per scenario and figure: medians and ratios of the last broker to the others."""
    scenarios = list(dict.fromkeys(name for one in rounds for broker in brokers for name in one.get(broker, {})))
    ours, others, rows = brokers[-1], brokers[:-1], []
    for scenario in scenarios:
        for figure in FIGURES:
            values = {broker: median(rounds, broker, scenario, figure) for broker in brokers}
            if all(value is None for value, _ in values.values()):
                continue
            ratios = {}
            for other in others:
                mine, theirs = values[ours][0], values[other][0]
                if mine and theirs:
                    ratios[other] = mine / theirs if FIGURES[figure][1] else theirs / mine
            rows.append({"scenario": scenario, "figure": figure, "ratios": ratios,
                         "medians": {broker: value for broker, (value, _) in values.items()},
                         "marks": {broker: marks for broker, (_, marks) in values.items()}})
    return rows


def markdown(rows, brokers):
    """The table, and the legend of its marks."""
    ours, others = brokers[-1], brokers[:-1]
    head = ["scenario", "unit", *brokers, *(f"{ours} vs {other}" for other in others)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        if row["figure"] not in shown(row["scenario"]):
            continue
        cells = [row["scenario"], FIGURES[row["figure"]][0]]
        cells += [number(row["medians"][broker]) + row["marks"][broker] for broker in brokers]
        cells += [f"{row['ratios'][other]:.2f}×" if other in row["ratios"] else "–" for other in others]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Medians over the rounds; a ratio above 1 means better than that Kafka. "
              "ᵛ void: the load used more than 80 % of its own core, or failed. "
              "ⁿ noisy: other processes used more than a tenth of a core meanwhile."]
    return "\n".join(lines)


def goals(rows):
    """The performance goals that a comparison can answer, each with what was measured."""
    def ratios(prefix, figure, other):
        return [row["ratios"][other] for row in rows
                if row["scenario"].startswith(prefix) and row["figure"] == figure and other in row["ratios"]]

    def value(scenario, figure):
        found = [row["medians"]["chronik"] for row in rows
                 if row["scenario"] == scenario and row["figure"] == figure]
        return found[0] if found else None

    lines = ["| goal | floor | aim | median | worst |", "|---|---|---|---|---|"]
    for name, prefix, figure, other, floor, aim in (
        ("produce vs Kafka without fsync", "produce raw", "mb_per_s", "kafka", 1.5, 2),
        ("produce vs Kafka with fsync", "produce raw", "mb_per_s", "kafka-fsync", 5, 10),
        ("consume vs Kafka", "consume raw", "mb_per_s", "kafka", 1, 2),
        ("consume, CPU per GB", "consume raw", "broker_cpu_s_per_gb", "kafka", 2, 3),
        ("end-to-end p99 vs Kafka", "e2e", "p99_ms", "kafka", 1, 2),
    ):
        found = ratios(prefix, figure, other)
        told = (f"{statistics.median(found):.2f}× | {min(found):.2f}×") if found else "– | –"
        lines.append(f"| {name} | {floor}× | {aim}× | {told} |")
    for name, scenario, figure, scale, floor, aim, unit in (
        ("idle memory", "idle", "resident_mb", 1, 60, 30, "MB"),
        ("empty start", "start, empty", "seconds", 1000, 200, 100, "ms"),
    ):
        found = value(scenario, figure)
        told = f"{found * scale:.0f} {unit}" if found is not None else "–"
        lines.append(f"| {name} | {floor} {unit} | {aim} {unit} | {told} | |")
    return "\n".join(lines)
