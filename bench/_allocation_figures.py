"""Figures 2 and 3 of the paper on allocations: the pictures."""

from pathlib import Path

import pandas as pd

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#8c8c8c"


def figure2(curves: pd.DataFrame, share: float, file: Path) -> None:
    """Value / V* by number of samples at one budget, a panel a trial."""
    import matplotlib.pyplot as plt

    seen = curves[curves["share"] == share]
    panels = list(seen.groupby(["trial", "division"], sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), layout="constrained", squeeze=False
    )
    for ax, ((trial, division), part) in zip(axes[0], panels):
        x = part["samples"]
        ax.fill_between(
            x, part["ratio"] - part["sd"], part["ratio"] + part["sd"], color=BLUE, alpha=0.2
        )
        ax.plot(x, part["ratio"], color=BLUE, marker="o", ms=3, label="value / V*")
        ax.plot(x, part["coarse"], color=ORANGE, ls="--", label="1 - M ln(2M/delta)/N")
        ax.plot(x, part["full"], color=GREY, ls=":", label="1 - sqrt(M ln(2M/delta)/N)")
        ax.set(
            xscale="log", xlabel="samples N", title=f"{trial}: {division}\nK = {part['k'].iloc[0]}"
        )
        ax.set_ylim(0, 1.03)
    axes[0, 0].legend(fontsize="small", loc="lower right")
    axes[0, 0].set_ylabel("share of the best value")
    _save(figure, file)


def figure3(records: pd.DataFrame, reading: str, file: Path) -> None:
    """Failure rates by eps, a panel a trial and a line a division."""
    import matplotlib.pyplot as plt

    seen = records[records["reading"] == reading]
    panels = list(seen.groupby("trial", sort=False))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.4 * len(panels), 3.2), layout="constrained", squeeze=False
    )
    for ax, (trial, part) in zip(axes[0], panels):
        for division, line in part.groupby("division", sort=False):
            label = f"{division} (M = {line['m'].iloc[0]})"
            ax.errorbar(
                line["eps"],
                line["failure_rate"],
                yerr=line["failure_sd"],
                marker="o",
                ms=3,
                capsize=2,
                label=label,
            )
        ax.set(xscale="log", xlabel="eps", title=str(trial))
        ax.set_ylim(bottom=0)
        ax.legend(fontsize="x-small")
    axes[0, 0].set_ylabel("budgets that fail, %")
    _save(figure, file)


def _save(figure, file: Path) -> None:  # noqa: ANN001
    """Write a figure, and let it go."""
    import matplotlib.pyplot as plt

    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)
