"""The pictures of what mattered: importances of what was searched, and the ablation."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from sweep.front.selection import metric_label, setting_text
from sweep.front.uncertainty import difference
from sweep.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    VERMILLION,
    head,
    metric_title,
    new_figure,
)
from sweep.report.summary import Summary, variable_label


@dataclass(frozen=True)
class ImportancesInfo:
    """What the picture of the importances shows.

    `shares[i][j]`, 0 … 1, is how much of target i is due to `variables[j]`; the most important
    variable of all targets together comes first.
    """

    title: str
    notes: tuple[str, ...]
    variables: tuple[str, ...]
    targets: tuple[str, ...]
    shares: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Effect:
    """What putting one key back to its default changes in an objective, on the same seeds.

    `harm` is positive where the objective gets worse, so that the key earns its place.
    """

    change: float
    half_width: float | None
    harm: float

    @property
    def certain(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half_width is not None and abs(self.change) > self.half_width


@dataclass(frozen=True)
class AblationInfo:
    """What the picture of the ablation shows.

    `levers` name each key with its value and its default; `effects[i][j]` is what lever i without
    its value changes in objective j. The lever that helps most comes first. An axis is `mirrored`
    where higher is better, so that worse is on the right in both panels.
    """

    title: str
    note: str
    axis_titles: tuple[str, str]
    mirrored: tuple[bool, bool]
    levers: tuple[str, ...]
    effects: tuple[tuple[Effect, Effect], ...]


def importances_info(summary: Summary) -> ImportancesInfo | None:
    """Gather what the picture of the importances shows; None where they are not known."""
    found = summary.importances
    if found is None or not found.parameters:
        return None
    total = Counter[str]()
    for shares in found.parameters.values():
        total.update(shares)
    variables = [name for name, _ in total.most_common()]
    return ImportancesInfo(
        title=f"{summary.record.name}: what mattered in {found.trials} trials",
        notes=(
            "The share of the variance over the whole search space that is due to each variable by "
            "itself (fANOVA).",
            f"Does the scale of the weights matter, or only their ratio? {found.scale.sentence}",
        ),
        variables=tuple(map(variable_label, variables)),
        targets=tuple(metric_label(target) for target in found.parameters),
        shares=tuple(
            tuple(shares.get(name, 0.0) for name in variables)
            for shares in found.parameters.values()
        ),
    )


def importances_figure(info: ImportancesInfo) -> Figure:
    """Draw a panel for each target and a bar for each variable."""
    figure = new_figure(12, 1.9 + 0.4 * len(info.variables))
    head(figure, info.title, info.notes)
    rows = range(len(info.variables))
    panels = figure.subplots(1, len(info.targets), sharey=True, squeeze=False)[0]
    for axes, target, shares in zip(panels, info.targets, info.shares, strict=True):
        bars = axes.barh(rows, [100 * share for share in shares], height=0.55, color=BLUE)
        axes.bar_label(bars, fmt="%.0f %%", padding=4, fontsize=9)
        axes.set_title(target, fontsize=10)
        axes.set(xlim=(0, 112), xticks=(0, 25, 50, 75, 100), xlabel="share of the variance (%)")
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, info.variables, fontsize=9)
    panels[0].invert_yaxis()
    return figure


def ablation_info(summary: Summary) -> AblationInfo | None:
    """Gather what the picture of the ablation shows; None without an ablation to show."""
    whole = next((one for one in summary.record.ablation if one.key is None), None)
    if whole is None:
        return None
    first, second = summary.objectives
    rows = []
    for one in summary.record.ablation:
        if one.key is None or one.value is None or one.default is None:
            continue
        effects = []
        for objective in summary.objectives:
            change = difference(one.replicates, whole.replicates, objective.metric)
            if change is not None:
                harm = objective.sign * change.mean
                effects.append(Effect(change.mean, change.half_width, harm))
        if len(effects) == 2:
            name = f"{one.key}\n{setting_text(one.value)} → {setting_text(one.default)}"
            rows.append((name, (effects[0], effects[1])))
    if not rows:
        return None
    scales = [max(abs(effects[axis].change) for _, effects in rows) or 1.0 for axis in range(2)]
    rows.sort(
        key=lambda row: -sum(e.harm / s for e, s in zip(row[1], scales, strict=True)),
    )
    seeds = len(whole.replicates)
    return AblationInfo(
        title=f"{summary.record.name}: trial {whole.trial} with one key put back to its default",
        note=(
            f"Change against the trial as it is, on the same {seeds} seeds; bars: ± 90 % interval "
            "of the mean."
            if seeds > 1
            else "Change against the trial as it is, on the same seed."
        ),
        axis_titles=(
            f"change of {metric_title(first.metric, summary.unit, '  ')}",
            f"change of {metric_title(second.metric, summary.unit, '  ')}",
        ),
        mirrored=(first.sign == -1, second.sign == -1),
        levers=tuple(name for name, _ in rows),
        effects=tuple(effects for _, effects in rows),
    )


def ablation_figure(info: AblationInfo) -> Figure:
    """Draw a row for each lever and a panel for each objective; what is worse goes to the right."""
    figure = new_figure(12, 2.2 + 0.5 * len(info.levers))
    head(figure, info.title, [info.note])
    panels = figure.subplots(1, 2, sharey=True)
    rows = range(len(info.levers))
    for objective, (axes, title) in enumerate(zip(panels, info.axis_titles, strict=True)):
        axes.axvline(0, color=INK, lw=0.8)
        effects = [pair[objective] for pair in info.effects]
        for row, effect in zip(rows, effects, strict=True):
            colour = VERMILLION if effect.harm > 0 else GREEN
            axes.barh(
                row,
                effect.change,
                height=0.55,
                color=colour if effect.certain else "white",
                ec=colour,
                lw=1.4,
            )
            if effect.half_width is not None:
                axes.errorbar(
                    effect.change, row, xerr=effect.half_width, fmt="none", ecolor=INK, capsize=3
                )
        if info.mirrored[objective]:
            axes.invert_xaxis()
        axes.set_xlabel(title)
        axes.grid(visible=False, axis="y")
    panels[0].set_yticks(rows, info.levers, fontsize=9)
    panels[0].invert_yaxis()
    looks = (
        ("worse without it", VERMILLION, VERMILLION),
        ("better without it", GREEN, GREEN),
        ("hollow: not told apart from no change", "white", GREY),
    )
    handles = [Patch(fc=fill, ec=edge, lw=1.4, label=name) for name, fill, edge in looks]
    figure.legend(handles=handles, loc="outside lower center", ncols=3)
    return figure
