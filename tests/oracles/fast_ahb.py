"""Fast AHB in plain NumPy, one box at a time, from the description and not from the library."""

import numpy as np

TIE = 1e-6


def grow_box(
    x,
    t,
    member,
    categories,
    f,
    point,
    *,
    gamma=(1.0, 1.0),
    c=1.1,
    tolerance=0.1,
    caliper=0.447,
    offsets,
    line=True,
    levels=None,
    minimum=(1, 1),
    noise=(0.0, 0.0),
    weight=None,
    flags=None,
    fill=None,
):
    """Edges {j: (low, high)} and open levels {j: set} of the box around `point`, or None.

    `flags` {j: column}: x[:, j] is NaN where that column is 1, and f is asked at `fill[j]` there.
    """
    n, p = x.shape
    flags = flags or {}
    gone = {j: point[flag] == 1 for j, flag in flags.items()}
    weight = np.ones(n) if weight is None else weight
    share = np.where(member, weight, 0) / weight[member].sum()

    def weigh(parts):
        return sum(g * part for g, part in zip(gamma, parts) if g > 0)

    def look(points):
        points = np.array(points, float)
        for j, flag in flags.items():
            points[points[:, flag] == 1, j] = fill[j]
        return np.asarray(f(points), float)

    everyone = look(x)
    scale = weigh([share @ (everyone[:, a] - share @ everyone[:, a]) ** 2 for a in (0, 1)])
    spread = scale + weigh(noise)
    home = look(point[None])[0]
    ordered = [j for j in range(p) if j not in categories]
    ladder = {j: np.unique(x[~np.isnan(x[:, j]), j]) for j in ordered}
    span = {j: max(np.ptp(ladder[j]), 1e-300) for j in ordered}
    stops = {j: _stops(ladder[j], point[j], levels) for j in ordered}
    taken = {j: [0, 0] for j in ordered}
    opened = {j: {point[j]} for j in categories}
    every = {j: np.arange(int(x[:, j].max()) + 1) for j in categories}
    mass = {(j, v): weight[member & (x[:, j] == v)].sum() for j in categories for v in every[j]}
    rank = {key: r for r, key in enumerate(sorted(mass, key=lambda k: -mass[k]))}
    previous = np.inf
    while True:
        low = {j: point[j] if not taken[j][0] else stops[j][0][taken[j][0] - 1] for j in ordered}
        high = {j: point[j] if not taken[j][1] else stops[j][1][taken[j][1] - 1] for j in ordered}
        inside = member.copy()
        for j in ordered:
            if gone.get(j):
                low[j], high[j] = ladder[j][0], ladder[j][-1]
            inside &= (x[:, j] >= low[j]) & (x[:, j] <= high[j]) | np.isnan(x[:, j])
        for j in categories:
            inside &= np.isin(x[:, j], list(opened[j]))
        enough = (inside & ~t).sum() >= minimum[0] and (inside & t).sum() >= minimum[1]
        centre = point.copy()
        for j in ordered:
            centre[j] = (low[j] + high[j]) / 2
        proposals = []
        for j in ordered:
            down = stops[j][0][taken[j][0] :][:1]
            up = stops[j][1][taken[j][1] :][:1]
            if not down and not up:
                continue
            size_down = (low[j] - down[0]) / span[j] if down else np.inf
            size_up = (up[0] - high[j]) / span[j] if up else np.inf
            if size_up <= size_down * (1 + TIE) + TIE**2:
                proposals.append((j, 1, high[j], up[0], size_up))
            else:
                proposals.append((j, 0, low[j], down[0], size_down))
        for j in categories:
            for v in every[j]:
                if v not in opened[j]:
                    size = 1 + rank[(j, v)] / len(rank)
                    proposals.append((j, v, point[j], v, size))
        if not proposals:
            return (low, high, opened, inside) if enough else None
        scores, distances = [], []
        for j, _, start, stop, _ in proposals:
            grid = np.tile(centre, (len(offsets), 1))
            for r in ordered:
                if not line and r != j:
                    grid[:, r] = low[r] + offsets[:, r] * (high[r] - low[r])
            if j in categories:
                grid[:, j] = np.where(offsets[:, j] < 0.5, start, stop)
            else:
                grid[:, j] = start + offsets[:, j] * (stop - start)
            values = look(grid)
            edge = centre.copy()
            edge[j] = stop
            edges = edge[None]
            number = next((k for k, flag in flags.items() if flag == j and gone[k]), None)
            if number is not None:
                foot, top = ladder[number][[0, -1]]
                share = offsets[:, number]
                if line:
                    share, grid = np.append(0, share), np.insert(grid, 0, centre, axis=0)
                    grid[1:, j] = stop
                grid[:, number] = foot + share * (top - foot)
                values = look(grid)
                edges = np.tile(edge, (2, 1))
                edges[:, number] = foot, top
            scores.append(weigh([values[:, a].var() for a in (0, 1)]))
            shift = np.abs(look(edges) - home).max(0)
            distances.append(weigh(shift**2))
        scores, distances = np.array(scores), np.array(distances)
        sizes = np.array([proposal[4] for proposal in proposals])
        near = distances <= caliper**2 * spread
        if not near.any() and enough:
            return low, high, opened, inside
        allowed = near if near.any() else np.ones(len(near), bool)
        value = np.where(allowed, scores if near.any() else distances, np.inf)
        tied = allowed & (value <= value.min() + TIE * scale)
        best = int(np.argmin(np.where(tied, sizes, np.inf)))
        score = scores[best]
        calm = (
            score <= c * max(previous, tolerance * scale) if tolerance > 0 else score < c * previous
        )
        if enough and not calm:
            return low, high, opened, inside
        j, side = proposals[best][:2]
        if j in categories:
            opened[j].add(side)
        else:
            taken[j][side] += 1
        previous = score


def _stops(ladder, at, levels):
    """The values that the lower and the upper side may stop at, from the query outwards."""
    sides = []
    for beyond in (ladder[ladder < at][::-1], ladder[ladder > at]):
        count = len(beyond)
        if levels is not None and count > levels:
            beyond = [beyond[-(-s * count // levels) - 1] for s in range(1, levels + 1)]
        sides.append(list(beyond))
    return sides
