"""Level boxes in plain NumPy, one query at a time, from the description alone."""

import numpy as np


def level_box(
    x,
    t,
    weight,
    categories,
    f,
    point,
    *,
    use,
    noise,
    minimum=(1, 1),
    flags=None,
    fill=None,
    floor=0.01,
    near=1e-6,
):
    """Levels (n,) of the units, the chosen level and the units inside; None where there is no box.

    `f` maps points to (m, 2); `use` (2,) what each surface's error counts; `flags` {j: column}:
    x[:, j] is NaN where that column is 1, and f is asked at `fill[j]` there.
    """
    n, p = x.shape
    flags = flags or {}

    def ask(points):
        points = np.array(points, float)
        for j, flag in flags.items():
            points[points[:, flag] == 1, j] = fill[j]
        return np.asarray(f(points), float)

    home = ask(point[None])[0]

    def change(points):
        gap = np.abs(ask(points) - home) * np.sqrt(use)
        return np.where(np.asarray(use) > 0, gap, 0).max(1)

    def moved(j, values):
        points = np.repeat(point[None], len(values), 0)
        points[:, j] = values
        return points

    level = np.zeros(n)
    for j in range(p):
        if j in flags and point[flags[j]] == 1:
            continue  # a missing value begins with its whole ladder
        if j in categories:
            values = np.unique(x[:, j])
            found = dict(zip(values, change(moved(j, values))))
            for number, flag in flags.items():
                if flag == j and point[j] == 1:
                    ladder = np.unique(x[~np.isnan(x[:, number]), number])
                    points = moved(number, ladder)
                    points[:, j] = 0
                    found[0.0] = change(points).max()
            found[point[j]] = 0.0
            own = np.array([found[v] for v in x[:, j]])
        else:
            known = x[~np.isnan(x[:, j]), j]
            own = np.zeros(n)
            for k in range(n):
                if np.isnan(x[k, j]):
                    continue
                low, high = sorted((point[j], x[k, j]))
                between = np.unique(known[(known >= low) & (known <= high)])
                own[k] = change(moved(j, between)).max()
        level = np.maximum(level, own)
    return (level, *_choice(level, ask(x), t, weight, home, use, noise, minimum, floor, near))


def _choice(level, values, t, weight, home, use, noise, minimum, floor, near):
    """Every prefix of whole level sets, enumerated."""
    alive = weight > 0
    for a in (0, 1):
        mine = alive & (t == a)
        share = weight[mine] / weight[mine].sum()
        spread = share @ (values[mine, a] - share @ values[mine, a]) ** 2
        noise = [max(noise[b], floor * spread) if b == a else noise[b] for b in (0, 1)]
    costs = {}
    for u in np.unique(level[alive]):
        inside, cost = alive & (level <= u), 0.0
        for a in (0, 1):
            mine = inside & (t == a)
            if mine.sum() < max(minimum[a] if minimum[a] > 1 else 0, use[a] > 0):
                cost = np.inf
            elif use[a] > 0:
                w = weight[mine]
                drift = w @ values[mine, a] / w.sum() - home[a]
                cost += use[a] * (drift**2 + noise[a] * (w @ w) / w.sum() ** 2)
        costs[u] = cost
    least = min(costs.values())
    if not np.isfinite(least):
        return None, np.zeros(len(t), bool)
    best = max(u for u, cost in costs.items() if cost <= least * (1 + near))
    return best, alive & (level <= best)
