"""Options of the learners that cross-fit inside the rows that they are trained on."""


def check_inner(inner: int) -> None:
    """Refuse fewer parts than two."""
    if inner < 2:
        raise ValueError(f"inner is {inner}: it must be at least 2.")
