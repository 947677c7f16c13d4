"""Turns what bench/run measured into one page to look at and one file to compute with.

    report.py FOLDER     reads FOLDER/NAME.ROUND.json (Google Benchmark) and FOLDER/instructions.txt,
                         writes FOLDER/report.html and FOLDER/report.json, prints the ratios

A figure is the median over the rounds; the spread beside it is (largest - smallest) / median.
"""
import html
import json
import pathlib
import re
import statistics
import sys

OURS = ("local_pool", "concurrent_pool", "raw", "dirty_extent", "whole_block", "per_thread")
UNIT_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6}


def read_figures(folder):
    """{workload: {subject: {"ns": median, "spread": ..., "counters": {...}}}}"""
    samples = {}
    for path in sorted(folder.glob("*.*.[0-9]*.json")):
        allocator = path.name.split(".")[0]
        for run in json.loads(path.read_text())["benchmarks"]:
            if run.get("run_type") == "aggregate":
                continue
            workload, _, subject = run["name"].removesuffix("/real_time").partition("/")
            if "new_delete" in subject:
                subject = subject.replace("new_delete", "glibc" if allocator == "slabbuf" else allocator)
            # With threads, wall time is shared out among them: processor time is what one costs.
            time = run["cpu_time"] if workload == "Threads" else run["real_time"]
            counters = {key: run[key] for key in ("heap_allocations", "heap_bytes", "hit_rate", "server_cpu_us") if key in run}
            samples.setdefault(workload, {}).setdefault(subject, []).append((time * UNIT_NS[run["time_unit"]], counters))
    figures = {}
    for workload, subjects in samples.items():
        for subject, runs in subjects.items():
            times = [time for time, _ in runs]
            median = statistics.median(times)
            counters = {key: statistics.median(run[key] for _, run in runs) for key in runs[0][1]}
            figures.setdefault(workload, {})[subject] = {
                "ns": median, "spread": (max(times) - min(times)) / median, "rounds": len(times), "counters": counters}
    return figures


def read_instructions(folder):
    counts = {}
    for line in (folder / "instructions.txt").read_text().splitlines():
        subject, workload, count = line.split()
        counts.setdefault(workload, {})[subject] = int(count)
    return counts


def is_ours(subject):
    return subject.split("/")[0] in OURS


def compare(figures):
    """For each workload: ours without clearing against the bare array and the best allocator."""
    rows = []
    for workload, subjects in figures.items():
        rivals = {name: value["ns"] for name, value in subjects.items()
                  if re.match(r"(glibc|jemalloc|mimalloc|tcmalloc|pmr_\w+)/none$", name)}
        ours = subjects.get("concurrent_pool/none")
        if not rivals or not ours:
            continue
        best = min(rivals, key=rivals.get)
        row = {"workload": workload, "best_rival": best.split("/")[0], "best_rival_ns": rivals[best],
               "concurrent_pool_ns": ours["ns"], "concurrent_over_best": ours["ns"] / rivals[best]}
        if "concurrent_pool/dirty_64B" in subjects:
            row["concurrent_64B_over_best"] = subjects["concurrent_pool/dirty_64B"]["ns"] / rivals[best]
        if "array/none" in subjects and "local_pool/none" in subjects:
            row["local_over_array"] = subjects["local_pool/none"]["ns"] / subjects["array/none"]["ns"]
        rows.append(row)
    return rows


def bars(values, unit):
    """One SVG of horizontal bars, shortest first, on a scale where the tenfold of the median is cut off."""
    ordered = sorted(values.items(), key=lambda item: item[1])
    longest = min(ordered[-1][1], 10 * statistics.median(values.values()))
    height, label_width, bar_width = 18, 220, 460
    lines = [f'<svg width="{label_width + bar_width + 130}" height="{height * len(ordered) + 4}" role="img">']
    for index, (name, value) in enumerate(ordered):
        y = index * height
        length = max(1, min(value / longest, 1) * bar_width) if longest else 1
        cut = " &#8811;" if value > longest else ""
        kind = "ours" if is_ours(name) or name in ("local_pool_64B", "concurrent_pool_64B") else "limit" if name.split("/")[0] in ("array", "loop", "memset") else "rival"
        lines.append(f'<text x="{label_width - 8}" y="{y + 13}" text-anchor="end">{html.escape(name)}</text>'
                     f'<rect class="{kind}" x="{label_width}" y="{y + 2}" width="{length:.1f}" height="{height - 5}" rx="2"/>'
                     f'<text x="{label_width + length + 6:.1f}" y="{y + 13}">{value:,.4g} {unit}{cut}</text>')
    lines.append("</svg>")
    return "".join(lines)


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>slabbuf: the benchmarks</title><style>
body {{ font: 14px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; color: #222; background: #fff; }}
h2 {{ margin: 2rem 0 .3rem; font-size: 1.1rem; }} svg text {{ font: 12px system-ui, sans-serif; fill: #333; }}
.ours {{ fill: #2a7de1; }} .rival {{ fill: #b8bec7; }} .limit {{ fill: #e3b341; }}
table {{ border-collapse: collapse; }} td, th {{ padding: .15rem .7rem; text-align: right; border-bottom: 1px solid #e4e7eb; }}
td:first-child, th:first-child {{ text-align: left; }} .lost {{ color: #b42318; font-weight: 600; }}
</style></head><body><h1>slabbuf: the benchmarks</h1>
<p>Medians of {rounds} rounds on {machine}. Time per buffer: get it, write to it, give it back.
<span style="color:#2a7de1">&#9632;</span> slabbuf <span style="color:#b8bec7">&#9632;</span> rivals
<span style="color:#e3b341">&#9632;</span> the least that must be done. The largest spread between rounds was {spread:.0%}.</p>
{table}{sections}</body></html>
"""


def ratio_cell(row, key, most):
    if key not in row:
        return "<td>-</td>"
    return f'<td class="{"lost" if row[key] > most else ""}">{row[key]:.2f}</td>'


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: report.py FOLDER")
    folder = pathlib.Path(sys.argv[1])
    figures = read_figures(folder)
    instructions = read_instructions(folder)
    rows = compare(figures)
    context = json.loads(next(folder.glob("slabbuf.seed.*.json")).read_text())["context"]
    machine = f'{context["num_cpus"]} processors of {context["mhz_per_cpu"]} MHz'
    (folder / "report.json").write_text(json.dumps(
        {"machine": machine, "comparison": rows, "instructions": instructions, "figures": figures}, indent=1))

    table = ["<h2>Ratios (red: missed; the targets are 0.7, 1.0 and 1.3)</h2><table><tr><th>workload<th>best rival<th>ns<th>concurrent_pool ns"
             "<th>/ best<th>64 B cleared / best<th>local_pool / array</tr>"]
    for row in rows:
        table.append(f'<tr><td>{row["workload"]}<td>{row["best_rival"]}<td>{row["best_rival_ns"]:.1f}<td>{row["concurrent_pool_ns"]:.1f}'
                     + ratio_cell(row, "concurrent_over_best", 1.0 if row["workload"] == "CrossThread" else 0.7)
                     + ratio_cell(row, "concurrent_64B_over_best", 1.0) + ratio_cell(row, "local_over_array", 1.3) + "</tr>")
    table.append("</table>")
    sections = []
    for workload, counts in instructions.items():
        sections.append(f"<h2>{workload}: instructions per {'request, outside the kernel' if workload == 'Echo' else 'pair'}</h2>{bars(counts, '')}")
    for workload, subjects in figures.items():
        sections.append(f"<h2>{html.escape(workload)}</h2>{bars({name: value['ns'] for name, value in subjects.items()}, 'ns')}")
    spread = max(value["spread"] for subjects in figures.values() for value in subjects.values())
    rounds = max(value["rounds"] for subjects in figures.values() for value in subjects.values())
    (folder / "report.html").write_text(PAGE.format(
        rounds=rounds, machine=machine, spread=spread, table="".join(table), sections="".join(sections)))

    print(f'{"workload":<22}{"best rival":<18}{"ns":>9}{"ours":>9}{"/ best":>8}{"64B/best":>10}{"local/array":>13}')
    for row in rows:
        print(f'{row["workload"]:<22}{row["best_rival"]:<18}{row["best_rival_ns"]:>9.1f}{row["concurrent_pool_ns"]:>9.1f}'
              f'{row["concurrent_over_best"]:>8.2f}{row.get("concurrent_64B_over_best", float("nan")):>10.2f}'
              f'{row.get("local_over_array", float("nan")):>13.2f}')
    for workload, counts in instructions.items():
        print(f"instructions, {workload}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    print(f"the page: {folder.resolve()}/report.html")


if __name__ == "__main__":
    main()
